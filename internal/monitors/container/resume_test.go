package container

import (
	"context"
	"encoding/binary"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"log_capturer/internal/framing"
	"log_capturer/internal/record"
)

// logEntry is one entry of a random log, encoded.
type logEntry []byte

func encodeEntry(stream record.Stream, at int64, data string) logEntry {
	payload := time.Unix(0, at).UTC().AppendFormat(nil, "2006-01-02T15:04:05.000000000Z ")
	payload = append(payload, data...)
	e := make([]byte, 8, 8+len(payload))
	e[0] = 1 + byte(stream)
	binary.BigEndian.PutUint32(e[4:], uint32(len(payload)))
	return append(e, payload...)
}

// clock gives a stream's entries their times: often the same one again, mostly
// later ones, at times earlier ones. It never comes back to a time that it has
// left, which is all that a place in a log rests on.
type clock struct {
	now  int64
	used map[int64]bool
}

func (c *clock) tick(t *rapid.T) int64 {
	switch step := rapid.SampledFrom([]int64{0, 0, 1, 1, 7, -5, -40}).Draw(t, "step"); step {
	case 0:
	default:
		c.move(step)
	}
	return c.now
}

// move sets the clock to an unused time.
func (c *clock) move(step int64) {
	c.now += step
	for c.used[c.now] {
		c.now++
	}
	c.used[c.now] = true
}

// reader is a stream that reads entries as they are given to it.
type reader struct {
	*stream
	batches []record.Cursor
	lines   [record.NumStreams][]line
	inside  []record.Cursor
}

const modelMaxLine = 10

func newReader(from record.Cursor, whole bool) *reader {
	r := &reader{stream: &stream{
		maxLine: modelMaxLine,
		intake:  intake{stats: &counters{}, source: &atomic.Pointer[record.Source]{}},
	}}
	r.source.Store(&record.Source{Key: "container/model"})
	r.sink = r
	r.position.cursor, r.position.total = from, from.Total()
	r.open(r.emit, whole, nil)
	return r
}

func (r *reader) Accept(_ context.Context, b *record.Batch) error {
	for i := range b.Records {
		rec := &b.Records[i]
		r.lines[rec.Stream] = append(r.lines[rec.Stream], line{string(b.Line(rec)), rec.Time, rec.Flags})
		r.inside = append(r.inside, b.CursorAt(i+1))
	}
	r.batches = append(r.batches, b.To)
	b.Release()
	return nil
}
func (r *reader) Resume(string, record.Cursor) ([]record.Cursor, error) { return nil, nil }
func (r *reader) Ended(string)                                          {}
func (r *reader) Forget(string) error                                   { return nil }

// read reads entries in random chunks of them, until the search is hopeless.
func (r *reader) read(t *rapid.T, entries []logEntry) {
	for len(entries) > 0 {
		n := rapid.IntRange(1, len(entries)).Draw(t, "chunk")
		if err := r.decoder.Feed(slices.Concat(entries[:n]...)); err != nil {
			t.Fatal(err)
		}
		if err := r.handOver(context.Background(), r.decoder, record.Place{}); err != nil {
			t.Fatal(err)
		}
		if r.search.missing() != 0 && r.search.hopeless() {
			return
		}
		entries = entries[n:]
	}
	r.settle() // the log's end
}

// flush takes the lines without an end, as when the container has stopped.
func (r *reader) flush(t *rapid.T) {
	if err := r.decoder.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := r.handOver(context.Background(), r.decoder, record.Place{}); err != nil {
		t.Fatal(err)
	}
}

// TestResumeModel reads a random log to a random place, lets it grow, and opens
// a part of it again: the new lines are exactly those behind the place, or the
// search says that the place was not found. In the whole log it is found.
func TestResumeModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var clocks [record.NumStreams]clock
		for s := range clocks {
			clocks[s] = clock{now: 1_000_000_000, used: map[int64]bool{}}
			clocks[s].move(0)
		}
		write := func(n int) (log []logEntry) {
			for range n {
				s := rapid.IntRange(0, 3).Draw(t, "stream") / 3
				text := rapid.SampledFrom([]string{"a\n", "a\n", "b\n", "\n", "p", "a", "a line that is cut\n", "a piece that is cut"}).Draw(t, "text")
				log = append(log, encodeEntry(record.Stream(s), clocks[s].tick(t), text))
			}
			return log
		}
		log := write(rapid.IntRange(1, 30).Draw(t, "entries"))
		first := newReader(record.Cursor{}, true)
		first.read(t, log)
		if rapid.Bool().Draw(t, "stopped") {
			// The container stops, and what it writes next is of another time.
			first.flush(t)
			for s := range clocks {
				clocks[s].move(1)
			}
		}
		places := append(slices.Clone(first.batches), first.inside...)
		place := record.Cursor{}
		if len(places) > 0 {
			place = rapid.SampledFrom(places).Draw(t, "place")
		}

		log = append(log, write(rapid.IntRange(0, 20).Draw(t, "more"))...)
		everything := newReader(record.Cursor{}, true)
		everything.read(t, log)
		everything.flush(t)

		tail := len(log)
		whole := needsWhole(place) || rapid.Bool().Draw(t, "whole")
		if !whole {
			tail = rapid.IntRange(0, len(log)).Draw(t, "tail")
		}
		again := newReader(place, whole)
		again.read(t, log[len(log)-tail:])
		again.flush(t)
		missing := again.search.missing()
		if whole && missing != 0 {
			t.Fatalf("the place %+v is not found in the whole log", place)
		}
		for s := range again.lines {
			if !again.search.open.Has(record.Stream(s)) {
				if len(again.lines[s]) > 0 {
					t.Fatalf("%v: %v before its place was found", record.Stream(s), again.lines[s])
				}
				continue
			}
			if missing != 0 && again.search.hopeless() {
				continue // it was left early
			}
			want := everything.lines[s][place.Streams[s].Seq:]
			if !slices.Equal(again.lines[s], want) {
				t.Fatalf("%v behind %+v, tail %d of %d:\n got %v\nwant %v", record.Stream(s), place, tail, len(log), again.lines[s], want)
			}
		}
		for s, a := range again.position.cursor.Streams {
			if want := place.Streams[s].Seq + uint64(len(again.lines[s])); a.Seq != want {
				t.Fatalf("%v: the position is at record %d, want %d", record.Stream(s), a.Seq, want)
			}
		}
	})
}

func TestGiveUp(t *testing.T) {
	anchor := func(seq, asOf uint64, last bool) record.Anchor {
		return record.Anchor{Seq: seq, AsOf: asOf, Last: last, Time: int64(1000 + seq), Count: 1, Hash: seq}
	}
	cursor := func(out, err record.Anchor) record.Cursor {
		return record.Cursor{Streams: [record.NumStreams]record.Anchor{out, err}}
	}
	byTime := func(a record.Anchor) record.Anchor { a.Count, a.Last = 0, false; return a }
	f := func(what string, sinks []record.Cursor, missing record.StreamSet, want record.Cursor) {
		t.Helper()
		c := newCandidates(sinks)
		if got := c.giveUp(c.oldest(), missing); got != want {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	near, far := cursor(anchor(5, 8, true), anchor(3, 8, false)), cursor(anchor(9, 14, false), anchor(5, 14, true))
	f("the only exact place", []record.Cursor{near}, record.Only(record.Stdout),
		cursor(byTime(near.Streams[0]), byTime(near.Streams[1])))
	f("the place of the sink that is ahead", []record.Cursor{far, near}, record.Only(record.Stdout), far)
	f("two sinks at one place", []record.Cursor{near, near}, record.Only(record.Stdout),
		cursor(byTime(near.Streams[0]), byTime(near.Streams[1])))
	loose := cursor(anchor(5, 8, true), anchor(3, 6, false))
	f("one stream of two", []record.Cursor{loose}, record.Only(record.Stderr), cursor(loose.Streams[0], byTime(loose.Streams[1])))
	f("one stream, another sink ahead in it", []record.Cursor{loose, cursor(anchor(5, 8, true), anchor(4, 9, true))},
		record.Only(record.Stderr), cursor(loose.Streams[0], anchor(4, 9, true)))
}

// TestSearchByTime begins behind a time, and keeps what comes after the first
// newer line, whatever its time.
func TestSearchByTime(t *testing.T) {
	place := record.Cursor{}
	for s := range place.Streams {
		place.Streams[s].Time = 100
	}
	s := newSearch(place, true)
	f := func(stream record.Stream, at int64, want bool) {
		t.Helper()
		if got := s.take(&framing.Line{Record: record.Record{Stream: stream, Time: at, Ordinal: 1}}); got != want {
			t.Errorf("%v at %d: %v, want %v", stream, at, got, want)
		}
	}
	f(record.Stdout, 99, false)
	f(record.Stdout, 100, false)
	f(record.Stdout, 101, true)
	f(record.Stderr, 50, false)
	f(record.Stdout, 60, true)
	f(record.Stderr, 102, true)
	f(record.Stderr, 3, true)
}
