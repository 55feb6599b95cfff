package container

import (
	"context"
	"reflect"
	"sync/atomic"

	"log_capturer/internal/framing"
	"log_capturer/internal/record"
)

// intake is what becomes of decoded lines, however they were read: those that
// are new go into a batch with its cursors, which is handed over, and move the
// position then.
type intake struct {
	sink  Dispatcher
	stats *counters
	// source may be replaced at any time, by a rename.
	source *atomic.Pointer[record.Source]
	// position moves when a batch was accepted.
	position position

	search *search
	batch  *record.Batch
	seqs   [record.NumStreams]uint64
	lastAt [record.NumStreams]uint64
	total  uint64
	// hint is how many bytes of lines to expect in a batch.
	hint int
}

// pending tells whether a stream has a line without its end.
type pending interface {
	Pending(s record.Stream) bool
}

// begin sets the intake to the position, with a search for it.
func (in *intake) begin(s *search) {
	in.search = s
	in.total = in.position.total
	for i, a := range in.position.cursor.Streams {
		in.seqs[i], in.lastAt[i] = a.Seq, a.AsOf
	}
}

// describe sets what the container is. Where nothing has changed the description
// at hand stays: to those who get the records another one is a change, at which
// nothing is joined any more.
func (in *intake) describe(src *record.Source) {
	if old := in.source.Load(); old == nil || !reflect.DeepEqual(*old, *src) {
		in.source.Store(src)
	}
}

// emit takes a decoded line.
func (in *intake) emit(l *framing.Line) error {
	if in.search.take(l) {
		in.add(l)
	}
	return nil
}

// current returns the batch that is being filled.
func (in *intake) current(size int) *record.Batch {
	if in.batch == nil {
		in.batch = record.NewBatch(in.source.Load(), max(in.hint, size))
		in.batch.From = in.position.cursor
	}
	return in.batch
}

// add puts a new line into the batch.
func (in *intake) add(l *framing.Line) {
	in.current(len(l.Bytes)).Append(l.Record, l.Bytes)
	in.total++
	in.seqs[l.Stream]++
	in.lastAt[l.Stream] = in.total
}

// drop lets the batch go that was not accepted: it is read again.
func (in *intake) drop() {
	if in.batch != nil {
		in.batch.Release()
		in.batch = nil
	}
}

// handOver gives the batch to the dispatcher, and moves the position when it
// was accepted. The place is where the source's files are read from, zero where
// that is not known.
func (in *intake) handOver(ctx context.Context, decoder pending, place record.Place) error {
	b := in.batch
	if b == nil || len(b.Records) == 0 {
		in.drop()
		// What was read gave no line, as NULs do. It need not be read, and
		// counted, once more.
		if !place.IsZero() {
			in.position.cursor.Place = place
		}
		return nil
	}
	if ctx.Err() != nil {
		// Another stream may read the container by now (see overdue.go). It is
		// read again.
		in.drop()
		return ctx.Err()
	}
	in.seal(b, decoder, place)
	if b.Source == nil {
		b.Source = in.source.Load() // it was not known when the batch was begun
	}
	records, bytes := len(b.Records), b.LineBytes()
	last := b.Records[records-1].Time
	to := b.To
	in.batch = nil
	if err := in.sink.Accept(ctx, b); err != nil {
		return err
	}
	in.position.cursor, in.position.total = to, in.total
	in.stats.records.Add(int64(records))
	in.stats.bytes.Add(int64(bytes))
	in.stats.lastLine.Store(last)
	return nil
}

// seal sets the cursor behind the batch.
func (in *intake) seal(b *record.Batch, decoder pending, place record.Place) {
	var last [record.NumStreams]*record.Record
	for i := range b.Records {
		last[b.Records[i].Stream] = &b.Records[i]
	}
	// A line that never got its end is recognised late when it is read again,
	// behind lines of the other stream: it is no place for both.
	unterminated := false
	for _, r := range last {
		unterminated = unterminated || r != nil && r.Flags&record.Unterminated != 0
	}
	to := b.From
	if !place.IsZero() {
		to.Place = place
	}
	for i := range to.Streams {
		a := &to.Streams[i]
		if r := last[i]; r != nil {
			a.Time, a.Count, a.Hash = r.Time, r.Ordinal, record.LineHash(b.Line(r))
			a.Seq = in.seqs[i]
		}
		stream := record.Stream(i)
		switch {
		case in.search.missing().Has(stream) || in.search.exact && in.search.missing() != 0:
			// Its anchor was not reached: nothing is known of it up to here.
			continue
		case unterminated, decoder.Pending(stream):
			// A line of it may have begun and must be read again from its
			// start, which is somewhere behind its last record.
			if last[i] == nil {
				continue
			}
			a.AsOf = in.lastAt[i]
		default:
			a.AsOf = in.total
		}
		a.Last = a.Count > 0 && in.lastAt[i] == a.AsOf
	}
	b.To = to
}
