package record

// AppendDerived appends a record that stands for records of another batch. The
// origin is the anchor of its stream after the last of them: the stream is done
// so far when this record is. A batch has derived records alone, or none.
func (b *Batch) AppendDerived(r Record, line []byte, origin Anchor) {
	b.Append(r, line)
	b.origins = append(b.origins, origin)
}

// Derived reports whether the batch's records stand for those of others. Its
// From and To then count records of the source, of which there may be more or
// fewer than the batch has.
func (b *Batch) Derived() bool { return len(b.origins) > 0 }

// Origin returns the anchor that AppendDerived was given for the i-th record.
func (b *Batch) Origin(i int) Anchor { return b.origins[i] }

// derivedCursorAt is CursorAt for derived records.
func (b *Batch) derivedCursorAt(n int) Cursor {
	c := b.From
	for i := range b.Records[:n] {
		c.Streams[b.Records[i].Stream] = b.origins[i]
	}
	return c
}

// Anchors returns the anchors of the batch's records: each that of its own
// stream after it. They are appended to dst.
func (b *Batch) Anchors(dst []Anchor) []Anchor {
	if b.Derived() {
		return append(dst, b.origins...)
	}
	streams := b.From.Streams
	total := b.To.Total() - uint64(len(b.Records))
	for i := range b.Records {
		r := &b.Records[i]
		a := Anchor{
			Seq: streams[r.Stream].Seq + 1, AsOf: total + uint64(i) + 1, Last: true,
			Time: r.Time, Count: r.Ordinal, Hash: LineHash(b.Line(r)),
		}
		streams[r.Stream] = a
		dst = append(dst, a)
	}
	return dst
}
