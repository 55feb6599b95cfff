package record

// Derivation is what a record has that a pipeline made.
type Derivation struct {
	// Origin is the anchor of the record's stream after the last of the records
	// that it stands for: the stream is done so far when the record is.
	Origin Anchor
	// Level is the record's level, empty where it is not known.
	Level string
	// Attributes are what is stored with the record, Labels what sinks may index
	// by, each name once.
	Attributes, Labels []Attribute
}

// Attribute is a name and a value, both valid UTF-8.
type Attribute struct {
	Name, Value string
	// JSON says that the value is JSON, a number say, and no text.
	JSON bool
}

// AppendDerived appends a record that stands for records of another batch. A
// batch has derived records alone, or none.
func (b *Batch) AppendDerived(r Record, line []byte, d Derivation) {
	b.derived = append(b.derived, d)
	r.Derived = uint32(len(b.derived))
	b.Append(r, line)
	for _, list := range [...][]Attribute{d.Attributes, d.Labels} {
		for i := range list {
			b.attributeMemory += attributeSize + len(list[i].Name) + len(list[i].Value)
		}
	}
}

// Derived reports whether the batch's records stand for those of others. Its
// From and To then count records of the source, of which there may be more or
// fewer than the batch has.
func (b *Batch) Derived() bool { return len(b.derived) > 0 }

// Derivation returns what a pipeline made of r, which must be one of the batch's
// records; nil where none did.
func (b *Batch) Derivation(r *Record) *Derivation {
	if r.Derived == 0 {
		return nil
	}
	return &b.derived[r.Derived-1]
}

// derivedCursorAt is CursorAt for derived records.
func (b *Batch) derivedCursorAt(n int) Cursor {
	c := b.From
	for i := range b.Records[:n] {
		r := &b.Records[i]
		c.Streams[r.Stream] = b.Derivation(r).Origin
	}
	return c
}

// Anchors returns the anchors of the records of a batch that is not derived:
// each that of its own stream after it. They are appended to dst.
func (b *Batch) Anchors(dst []Anchor) []Anchor {
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
