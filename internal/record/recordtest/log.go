// Package recordtest makes batches for tests as monitors make them: from a log
// that can be read again from any cursor.
package recordtest

import (
	"fmt"

	"log_capturer/internal/record"
)

// Log is a container's log in memory. Writing to it and reading from it are not
// safe for concurrent use.
type Log struct {
	Source *record.Source

	entries []entry
	streams [record.NumStreams][]int // the indexes of each stream's entries
}

type entry struct {
	record.Record
	line string
	seq  uint64
}

// NewLog returns an empty log of a source with the given key.
func NewLog(key string) *Log {
	return &Log{Source: &record.Source{Key: key, ContainerID: key, ContainerName: "/" + key}}
}

// Write appends a line that was written at the given time, in Unix nanoseconds.
func (l *Log) Write(stream record.Stream, time int64, line string) {
	e := entry{Record: record.Record{Time: time, Ordinal: 1, Stream: stream}, line: line}
	indexes := l.streams[stream]
	if n := len(indexes); n > 0 && l.entries[indexes[n-1]].Time == time {
		e.Ordinal = l.entries[indexes[n-1]].Ordinal + 1
	}
	e.seq = uint64(len(indexes)) + 1
	l.streams[stream] = append(indexes, len(l.entries))
	l.entries = append(l.entries, e)
}

// Fill appends n lines, each with a number of its own. The i-th is on stdout
// for an even i.
func (l *Log) Fill(n int) *Log {
	for range n {
		i := len(l.entries)
		l.Write(record.Stream(i%record.NumStreams), int64(1000+i/3), fmt.Sprintf("%s line %d", l.Source.Key, i))
	}
	return l
}

// Lines returns all lines of a stream.
func (l *Log) Lines(stream record.Stream) []string {
	var lines []string
	for _, i := range l.streams[stream] {
		lines = append(lines, l.entries[i].line)
	}
	return lines
}

// Check returns an error where an anchor of c does not describe the record that
// its Seq counts, or where records that c does not have lie before its place.
func (l *Log) Check(c record.Cursor) error {
	if p := c.Place; !p.IsZero() {
		for s, indexes := range l.streams {
			before := 0
			for before < len(indexes) && int64(indexes[before]) < p.Offset {
				before++
			}
			if p.Seqs[s] != uint64(before) {
				return fmt.Errorf("%v: %d records before the place at %d, which says %d", record.Stream(s), before, p.Offset, p.Seqs[s])
			}
			if p.Seqs[s] > c.Streams[s].Seq {
				return fmt.Errorf("%v: the place is behind record %d, the cursor has only %d", record.Stream(s), p.Seqs[s], c.Streams[s].Seq)
			}
		}
	}
	for s, a := range c.Streams {
		if a.Seq == 0 {
			continue
		}
		if a.Seq > uint64(len(l.streams[s])) {
			return fmt.Errorf("%v: anchor at record %d of %d", record.Stream(s), a.Seq, len(l.streams[s]))
		}
		e := l.entries[l.streams[s][a.Seq-1]]
		if a.Time != e.Time || a.Count != e.Ordinal || a.Hash != record.LineHash([]byte(e.line)) {
			return fmt.Errorf("%v: anchor %+v does not describe record %d, %+v %q", record.Stream(s), a, a.Seq, e.Record, e.line)
		}
	}
	return nil
}

// Reader reads a log.
type Reader struct {
	// Open holds the streams that count as having an incomplete line at the end
	// of every batch.
	Open record.StreamSet

	log *Log
	state
	before state
}

// state is where a reader stands.
type state struct {
	cursor record.Cursor
	total  uint64
	next   int
}

// Read returns a reader that begins where the cursor that is furthest behind
// stands, for each stream on its own. Without cursors that is the beginning.
func (l *Log) Read(cursors ...record.Cursor) *Reader {
	r := &Reader{log: l}
	for i, c := range cursors {
		r.total = max(r.total, c.Total())
		if i == 0 || c.Place.Before(r.cursor.Place) {
			r.cursor.Place = c.Place
		}
		for s, a := range c.Streams {
			own := &r.cursor.Streams[s]
			if i == 0 || a.Seq < own.Seq || a.Seq == own.Seq && a.AsOf < own.AsOf {
				*own = a
			}
		}
	}
	return r
}

// Cursor returns where the reader stands.
func (r *Reader) Cursor() record.Cursor { return r.cursor }

// Back takes back the last Next, whose batch was not accepted.
func (r *Reader) Back() { r.state = r.before }

// Next returns a batch of the next n records, or of as many as there are, and
// nil at the end of the log. The caller holds it.
func (r *Reader) Next(n int) *record.Batch {
	var b *record.Batch
	r.before = r.state
	to := r.cursor
	for ; r.next < len(r.log.entries) && n > 0; r.next++ {
		e := &r.log.entries[r.next]
		a := &to.Streams[e.Stream]
		if e.seq <= a.Seq {
			continue
		}
		if b == nil {
			b = record.NewBatch(r.log.Source, 64)
			b.From = r.cursor
		}
		b.Append(e.Record, []byte(e.line))
		r.total++
		n--
		*a = record.Anchor{Seq: e.seq, AsOf: r.total, Time: e.Time, Count: e.Ordinal, Hash: record.LineHash([]byte(e.line))}
	}
	if b == nil {
		return nil
	}
	for s := range to.Streams {
		a := &to.Streams[s]
		own := a.AsOf
		if r.Open.Has(record.Stream(s)) {
			if b.Streams.Has(record.Stream(s)) {
				a.Last = true
			}
			continue
		}
		a.AsOf = r.total
		a.Last = a.Seq > 0 && own == a.AsOf
	}
	if r.Open == 0 {
		// All before the next entry was read; its number is its offset.
		to.Place = record.Place{File: record.FileID{Inode: 1}, Offset: int64(r.next)}
		for s, indexes := range r.log.streams {
			for _, i := range indexes {
				if i < r.next {
					to.Place.Seqs[s]++
				}
			}
		}
	}
	b.To, r.cursor = to, to
	return b
}
