package file

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"log_capturer/internal/framing"
	"log_capturer/internal/record"
	"log_capturer/internal/tail"
)

// decoder makes lines of a file's bytes. Those of framing are some.
type decoder interface {
	// Start sets how many lines of a stream were before, and the last one's time.
	Start(s record.Stream, seq uint64, time int64)
	// Bound returns the place before which all is in lines that were emitted.
	Bound(here record.Place) record.Place
	// Decode decodes what is whole and returns how much of p it has used.
	Decode(p []byte, at int64) (int, error)
	// End decodes all of p, behind which the file has nothing.
	End(p []byte, at int64) error
	// Flush ends lines whose end will not come.
	Flush() error
}

// source reads one file. The atomic fields may be read by anyone; all else
// belongs to the step, which one goroutine of the set makes at a time.
type source struct {
	path    string
	format  Format
	maxLine int
	sink    Dispatcher
	logger  *slog.Logger
	record  *record.Source
	lister  *tail.Lister
	reader  *tail.Reader
	member  atomic.Pointer[tail.Member]
	// cleanEnd says that the file of this name that was here before was read to
	// its end, so that a new one is no gap.
	cleanEnd bool

	decoder decoder
	chunk   *tail.Chunk
	// cursor is what was handed over. Lines up to skip were handed over before
	// this reading, where a line is known by its number in its stream; furthest
	// is what any of the sinks has.
	cursor         record.Cursor
	skip, furthest record.Cursor
	batch          *record.Batch
	// seqs are how many lines of each stream have come so far, and lastAt the
	// number among those of all streams of each one's last.
	seqs, lastAt [record.NumStreams]uint64
	misplaced    bool

	records, bytes, lost atomic.Int64
	gaps                 atomic.Uint64
	lastLine             atomic.Int64
	// inode and device are those of the file that is being read, 0 before one was
	// opened. behindSince is when the file had been written to that is being
	// caught up with, 0 when all was read. endedAt is when the file was found
	// gone, 0 while it is there.
	inode, device        atomic.Uint64
	behindSince, endedAt atomic.Int64
	failure              atomic.Pointer[string]
	failures             atomic.Int64
}

// begin finds out where reading goes on, or begins: at the end of the file, or at
// its head, where no sink knows it.
func (s *source) begin(atEnd bool, wait time.Duration) error {
	place, written, err := tail.PlaceIn(s.path, atEnd)
	if err != nil {
		return err
	}
	start := record.Cursor{Place: place}
	for i := range start.Streams {
		start.Streams[i].Time = written
	}
	cursors, err := s.sink.Resume(s.record.Key, start)
	if err != nil {
		return fmt.Errorf("find position of %q: %w", s.path, err)
	}
	if len(cursors) == 0 {
		cursors = []record.Cursor{start}
	}
	s.cursor = cursors[0]
	s.furthest = cursors[0]
	for _, c := range cursors[1:] {
		if total(c.Place.Seqs) < total(s.cursor.Place.Seqs) {
			s.cursor.Place = c.Place
		}
		for i, a := range c.Streams {
			if a.Seq < s.cursor.Streams[i].Seq {
				s.cursor.Streams[i] = a
			}
			if a.Seq > s.furthest.Streams[i].Seq {
				s.furthest.Streams[i] = a
			}
		}
	}
	s.reader = tail.NewReader(
		tail.Log{Path: s.path, Rotated: s.lister.Rotations(s.path)}, s.resume(), tail.Options{Settle: wait})
	return nil
}

// resume goes to the cursor, and returns where the reader is to begin.
func (s *source) resume() tail.Start {
	s.skip, s.decoder, s.misplaced = s.cursor, nil, false
	s.seqs = s.cursor.Place.Seqs
	s.lastAt = [record.NumStreams]uint64{}
	start := tail.Start{Place: s.cursor.Place}
	for _, a := range s.cursor.Streams {
		start.Since = max(start.Since, a.Time)
	}
	return start
}

func total(seqs [record.NumStreams]uint64) (sum uint64) {
	for _, n := range seqs {
		sum += n
	}
	return sum
}

// step reads on. It is called by a goroutine of the set, with a buffer for the
// time of the call.
func (s *source) step(ctx context.Context, buf []byte) tail.Verdict {
	c, err := s.reader.Next(buf)
	if err != nil {
		s.fail(err)
		return tail.Rest
	}
	s.succeed()
	s.inode.Store(s.reader.Inode())
	s.device.Store(s.reader.Device())
	switch c.Kind {
	case tail.Data:
		return s.data(ctx, &c)
	case tail.Gap:
		return s.gap(ctx, &c)
	case tail.Ended:
		if s.endedAt.Load() == 0 {
			s.endedAt.Store(time.Now().UnixNano())
		}
		s.behindSince.Store(0)
		return s.flush(ctx)
	}
	s.behindSince.Store(0)
	return tail.Rest
}

// data takes a chunk of the file.
func (s *source) data(ctx context.Context, c *tail.Chunk) tail.Verdict {
	s.endedAt.Store(0)
	if s.decoder == nil && !s.choose(c) {
		s.reader.Use(c, 0)
		return tail.Rest
	}
	s.chunk = c
	// The time of lines that have none: when they were written at the latest. A
	// file that is caught up with was not written now.
	at := min(s.reader.Written(), time.Now().UnixNano())
	n := len(c.Data)
	var err error
	switch {
	case s.decoder == nil: // the end of a file without a line
	case c.Last:
		err = s.decoder.End(c.Data, at)
	default:
		n, err = s.decoder.Decode(c.Data, at)
	}
	if err == nil {
		err = s.handOver(ctx, c, n)
	}
	s.chunk = nil
	if err != nil {
		return s.again(ctx, err)
	}
	s.reader.Use(c, n)
	if c.More || c.Last {
		s.behindSince.Store(at)
		return tail.Again
	}
	s.behindSince.Store(0)
	return tail.Rest
}

// choose makes the decoder, and reports false while it is not known which.
func (s *source) choose(c *tail.Chunk) bool {
	cri := s.format == FormatCRI
	if s.format == FormatAuto {
		is, known := framing.IsCRI(c.Data)
		if !known && !c.More && !c.Last {
			return false
		}
		if len(c.Data) == 0 {
			return true // nothing is lost by not choosing yet
		}
		cri = is
	}
	opts := framing.PlainOptions{MaxLine: s.maxLine, Place: func(i int) record.Place { return s.chunk.Place(i) }}
	if cri {
		s.decoder = framing.NewCRI(opts, s.emit)
	} else {
		s.decoder = framing.NewPlain(opts, s.emit)
	}
	s.number()
	return true
}

// number tells the decoder the numbers of the lines that come next.
func (s *source) number() {
	if s.decoder == nil {
		return
	}
	for i, seq := range s.seqs {
		s.decoder.Start(record.Stream(i), seq, s.furthest.Streams[i].Time)
	}
}

// emit takes a decoded line.
func (s *source) emit(l *framing.Line) error {
	s.seqs[l.Stream]++
	seq := s.seqs[l.Stream]
	s.lastAt[l.Stream] = total(s.seqs)
	if skip := &s.skip.Streams[l.Stream]; seq <= skip.Seq {
		if seq == skip.Seq && skip.Count > 0 && record.LineHash(l.Bytes) != skip.Hash && !s.misplaced {
			s.misplaced = true
			s.suspect("lines before the position are not those that were there", 0)
		}
		return nil
	}
	if s.batch == nil {
		size := len(l.Bytes)
		if s.chunk != nil {
			size = max(size, len(s.chunk.Data))
		}
		s.batch = record.NewBatch(s.record, size)
		s.batch.From = s.cursor
	}
	s.batch.Append(l.Record, l.Bytes)
	return nil
}

// handOver gives the batch to the dispatcher. The reading has come to index n of
// the chunk, which is nil where it has none.
func (s *source) handOver(ctx context.Context, c *tail.Chunk, n int) error {
	b := s.batch
	if b == nil {
		return nil
	}
	s.batch = nil
	to := b.From
	if c != nil {
		to.Place = s.decoder.Bound(c.Place(n))
	}
	var last [record.NumStreams]*record.Record
	for i := range b.Records {
		last[b.Records[i].Stream] = &b.Records[i]
	}
	all := total(s.seqs)
	for i := range to.Streams {
		a := &to.Streams[i]
		if r := last[i]; r != nil {
			a.Seq, a.Time, a.Count, a.Hash = s.seqs[i], r.Time, r.Ordinal, record.LineHash(b.Line(r))
		}
		if s.seqs[i] < a.Seq {
			continue // its lines are still those that were handed over before
		}
		a.AsOf = all
		a.Last = a.Count > 0 && s.lastAt[i] == all
	}
	b.To, b.Gathered = to, s.reader.Gathered()
	records, bytes := len(b.Records), b.LineBytes()
	at := b.Records[records-1].Time
	if err := s.sink.Accept(ctx, b); err != nil {
		return err
	}
	s.cursor = to
	s.records.Add(int64(records))
	s.bytes.Add(int64(bytes))
	s.lastLine.Store(at)
	return nil
}

// gap takes in that bytes are missing.
func (s *source) gap(ctx context.Context, c *tail.Chunk) tail.Verdict {
	if !c.NotFound || !s.cleanEnd {
		s.lost.Add(c.Lost)
		s.suspect(c.Reason, c.Lost)
	}
	if s.decoder != nil {
		if err := s.decoder.Flush(); err != nil {
			return s.again(ctx, err)
		}
	}
	if err := s.handOver(ctx, nil, 0); err != nil {
		return s.again(ctx, err)
	}
	// What comes is behind all that any sink has, and must not be taken for it.
	for i := range s.seqs {
		s.seqs[i] = max(s.seqs[i], s.furthest.Streams[i].Seq)
		if a := s.furthest.Streams[i]; a.Seq > s.cursor.Streams[i].Seq {
			s.cursor.Streams[i] = a
		}
	}
	s.number()
	return tail.Again
}

// flush takes the lines that get no end any more, since the file is gone.
func (s *source) flush(ctx context.Context) tail.Verdict {
	if s.decoder == nil {
		return tail.Rest
	}
	err := s.decoder.Flush()
	if err == nil {
		err = s.handOver(ctx, nil, 0)
	}
	if err != nil {
		return s.again(ctx, err)
	}
	return tail.Rest
}

// again goes back to what was handed over, after that did not work.
func (s *source) again(ctx context.Context, err error) tail.Verdict {
	s.drop()
	s.reader.Reset(s.resume())
	if ctx.Err() == nil && !errors.Is(err, context.Canceled) {
		s.fail(err)
	}
	return tail.Rest
}

// drop lets the batch go that was not handed over.
func (s *source) drop() {
	if s.batch != nil {
		s.batch.Release()
		s.batch = nil
	}
}

// suspect counts a suspected gap, and says why.
func (s *source) suspect(reason string, bytes int64) {
	s.gaps.Add(1)
	s.logger.Warn("suspected_gap", "path", s.path, "reason", reason, "bytes_at_least", bytes)
}

// fail takes in that reading does not work. It is tried again.
func (s *source) fail(err error) {
	text := err.Error()
	s.failure.Store(&text)
	if n := s.failures.Add(1); n&(n-1) == 0 {
		s.logger.Warn("read_failed", "path", s.path, "error", err, "failures", n)
	}
}

func (s *source) succeed() {
	if s.failures.Load() != 0 {
		s.failures.Store(0)
		s.failure.Store(nil)
	}
}
