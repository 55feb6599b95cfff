package container

import (
	"context"

	"log_capturer/internal/framing"
	"log_capturer/internal/record"
)

// emit takes a decoded line.
func (s *stream) emit(l *framing.Line) error {
	if !s.search.take(l) {
		return nil
	}
	if s.batch == nil {
		s.batch = record.NewBatch(s.source.Load(), max(s.hint, len(l.Bytes)))
		s.batch.From = s.position.cursor
	}
	s.batch.Append(l.Record, l.Bytes)
	s.total++
	s.seqs[l.Stream]++
	s.lastAt[l.Stream] = s.total
	return nil
}

// handOver gives the batch to the dispatcher, and moves the position when it
// was accepted.
func (s *stream) handOver(ctx context.Context) error {
	b := s.batch
	if b == nil {
		return nil
	}
	if ctx.Err() != nil {
		// Another stream may read the container by now (see overdue.go). It is
		// read again.
		b.Release()
		s.batch = nil
		return ctx.Err()
	}
	s.seal(b)
	records, bytes := len(b.Records), b.LineBytes()
	last := b.Records[records-1].Time
	to := b.To
	s.batch = nil
	if err := s.sink.Accept(ctx, b); err != nil {
		return err
	}
	s.position.cursor, s.position.total = to, s.total
	s.stats.records.Add(int64(records))
	s.stats.bytes.Add(int64(bytes))
	s.stats.lastLine.Store(last)
	return nil
}

// seal sets the cursor behind the batch.
func (s *stream) seal(b *record.Batch) {
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
	for i := range to.Streams {
		a := &to.Streams[i]
		if r := last[i]; r != nil {
			a.Time, a.Count, a.Hash = r.Time, r.Ordinal, record.LineHash(b.Line(r))
			a.Seq = s.seqs[i]
		}
		stream := record.Stream(i)
		switch {
		case s.search.missing().Has(stream) || s.search.exact && s.search.missing() != 0:
			// Its anchor was not reached: nothing is known of it up to here.
			continue
		case unterminated, s.decoder.Pending(stream):
			// A line of it may have begun and must be read again from its
			// start, which is somewhere behind its last record.
			if last[i] == nil {
				continue
			}
			a.AsOf = s.lastAt[i]
		default:
			a.AsOf = s.total
		}
		a.Last = a.Count > 0 && s.lastAt[i] == a.AsOf
	}
	b.To = to
}
