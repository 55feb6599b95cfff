package record_test

import (
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"log_capturer/internal/record"
	"log_capturer/internal/record/recordtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// drawCursor draws any cursor, also one that no log could have.
func drawCursor(t *rapid.T, label string) record.Cursor {
	var c record.Cursor
	for s := range c.Streams {
		c.Streams[s] = record.Anchor{
			Seq: rapid.Uint64().Draw(t, label), AsOf: rapid.Uint64().Draw(t, label),
			Last: rapid.Bool().Draw(t, label), Time: rapid.Int64().Draw(t, label),
			Count: rapid.Uint32().Draw(t, label), Hash: rapid.Uint64().Draw(t, label),
		}
		c.Place.Seqs[s] = rapid.Uint64().Draw(t, label)
	}
	c.Place.File = record.FileID{
		Inode: rapid.Uint64().Draw(t, label), Head: rapid.Uint64().Draw(t, label), HeadLength: rapid.Uint32().Draw(t, label),
	}
	c.Place.Offset, c.Place.Tail = rapid.Int64().Draw(t, label), rapid.Uint64().Draw(t, label)
	return c
}

// drawLog draws a log whose lines share times and streams in all ways.
func drawLog(t *rapid.T) *recordtest.Log {
	log := recordtest.NewLog("container/a")
	for i := range rapid.IntRange(1, 20).Draw(t, "lines") {
		stream := record.Stream(rapid.IntRange(0, record.NumStreams-1).Draw(t, "stream"))
		log.Write(stream, rapid.Int64Range(1, 3).Draw(t, "time"), strings.Repeat("x", i%3))
	}
	return log
}

func TestCursorSurvivesEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawCursor(t, "cursor")
		b, err := want.AppendBinary([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		var got record.Cursor
		if err := got.UnmarshalBinary([]byte(strings.TrimPrefix(string(b), "before"))); err != nil || got != want {
			t.Fatalf("decoded %+v, %v, want %+v", got, err, want)
		}
	})
}

// TestCursorEncoding pins the bytes that positions files hold.
func TestCursorEncoding(t *testing.T) {
	c := record.Cursor{
		Streams: [record.NumStreams]record.Anchor{
			{Seq: 1, AsOf: 2, Last: true, Time: 3, Count: 4, Hash: 5}, {Time: -1},
		},
		Place: record.Place{
			File: record.FileID{Inode: 6, Head: 7, HeadLength: 8}, Offset: 9, Tail: 10, Seqs: [record.NumStreams]uint64{11, 12},
		},
	}
	b, _ := c.AppendBinary(nil)
	const anchors = "0100000000000000" + "0200000000000000" + "01" + "0300000000000000" + "04000000" + "0500000000000000" +
		"0000000000000000" + "0000000000000000" + "00" + "ffffffffffffffff" + "00000000" + "0000000000000000"
	const place = "0600000000000000" + "0700000000000000" + "08000000" +
		"0900000000000000" + "0a00000000000000" + "0b00000000000000" + "0c00000000000000"
	if got, want := hex.EncodeToString(b), "02"+anchors+place; got != want {
		t.Errorf("encoded\n%s, want\n%s", got, want)
	}
	// What a build without places wrote is read.
	first, err := hex.DecodeString("01" + anchors)
	if err != nil {
		t.Fatal(err)
	}
	got := c
	c.Place = record.Place{}
	if err := got.UnmarshalBinary(first); err != nil || got != c {
		t.Errorf("version 1 was decoded to %+v, %v, want %+v", got, err, c)
	}
}

func TestCursorRejectsWhatItDidNotWrite(t *testing.T) {
	whole, _ := record.Cursor{}.AppendBinary(nil)
	f := func(b []byte, want string) {
		t.Helper()
		var c record.Cursor
		if err := c.UnmarshalBinary(b); err == nil || err.Error() != want {
			t.Errorf("UnmarshalBinary(%x) = %v, want %q", b, err, want)
		}
	}
	f(nil, "decode cursor: empty")
	f([]byte{3}, "decode cursor: version 3 is not known to this build")
	f([]byte{1}, "decode cursor: 1 bytes, want 75")
	f(whole[:len(whole)-1], "decode cursor: 126 bytes, want 127")
	f(append(whole, 0), "decode cursor: 128 bytes, want 127")
}

func FuzzCursor(f *testing.F) {
	b, _ := record.Cursor{Streams: [record.NumStreams]record.Anchor{{Seq: 7, Last: true}}}.AppendBinary(nil)
	f.Add(b)
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		var c, again record.Cursor
		if c.UnmarshalBinary(b) != nil {
			return
		}
		encoded, _ := c.AppendBinary(nil)
		if err := again.UnmarshalBinary(encoded); err != nil || again != c {
			t.Errorf("%+v became %+v, %v", c, again, err)
		}
	})
}

func TestAdvanceNeverGoesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCursor(t, "from")
		before, to := c, drawCursor(t, "to")
		streams := record.StreamSet(rapid.IntRange(0, int(record.AllStreams)).Draw(t, "streams"))
		c.Advance(to, streams)
		for s := range c.Streams {
			got, old := c.Streams[s], before.Streams[s]
			if got.Seq < old.Seq || got.AsOf < old.AsOf {
				t.Fatalf("%v went back from %+v to %+v", record.Stream(s), old, got)
			}
			if got.Seq > old.Seq && !streams.Has(record.Stream(s)) {
				t.Fatalf("%v moved past a record, and is not in the set %b", record.Stream(s), streams)
			}
		}
	})
}

// TestAdvanceInAnyOrder says that the streams may be advanced each on its own,
// at its own pace and with repeats: in the end it is all the same.
func TestAdvanceInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := drawLog(t)
		var places []record.Cursor
		reader := log.Read()
		for b := reader.Next(rapid.IntRange(1, 5).Draw(t, "size")); b != nil; b = reader.Next(3) {
			for n := 1; n <= len(b.Records); n++ {
				places = append(places, b.CursorAt(n))
			}
			b.Release()
		}
		var c record.Cursor
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			to := rapid.SampledFrom(places).Draw(t, "place")
			c.Advance(to, record.Only(record.Stream(rapid.IntRange(0, record.NumStreams-1).Draw(t, "stream"))))
			if err := log.Check(c); err != nil {
				t.Fatal(err)
			}
		}
		end := places[len(places)-1]
		for s := range record.NumStreams {
			c.Advance(end, record.Only(record.Stream(s)))
		}
		if c != end || !c.Reaches(end) {
			t.Fatalf("advanced to\n%+v, want\n%+v", c, end)
		}
	})
}

// TestCursorAtIsReadingOneByOne says that a cursor within a batch is the one
// that reading a record at a time gives.
func TestCursorAtIsReadingOneByOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := drawLog(t)
		// Two sinks stand at different places.
		var known []record.Cursor
		for range 2 {
			first := log.Read()
			if b := first.Next(rapid.IntRange(0, 10).Draw(t, "had")); b != nil {
				b.Release()
			}
			known = append(known, first.Cursor())
		}
		batches, single := log.Read(known...), log.Read(known...)
		single.Open = record.AllStreams // nothing is known of the other stream
		b := batches.Next(100)
		if b == nil {
			return
		}
		if got := b.CursorAt(0); got != b.From {
			t.Fatalf("CursorAt(0) = %+v, want From", got)
		}
		for n := 1; n < len(b.Records); n++ {
			one := single.Next(1)
			if got := b.CursorAt(n); got != one.To {
				t.Fatalf("CursorAt(%d of %d) =\n%+v, want\n%+v", n, len(b.Records), got, one.To)
			}
			one.Release()
		}
		if got := b.CursorAt(len(b.Records)); got != b.To {
			t.Fatalf("CursorAt(all) = %+v, want To", got)
		}
		b.Release()
	})
}

func TestBatchKeepsLines(t *testing.T) {
	b := record.NewBatch(&record.Source{}, 10)
	var want []string
	buffer := make([]byte, 0, 100)
	for i := range 1000 {
		buffer = fmt.Appendf(buffer[:0], "line %d", i) // the caller's buffer is used again
		b.Append(record.Record{Time: int64(i)}, buffer)
		want = append(want, fmt.Sprintf("line %d", i))
	}
	for i := range b.Records {
		if got := string(b.Line(&b.Records[i])); got != want[i] {
			t.Fatalf("line %d = %q, want %q", i, got, want[i])
		}
	}
	line := b.Line(&b.Records[0])
	_ = append(line, "overwritten"...)
	if got := string(b.Line(&b.Records[1])); got != want[1] {
		t.Errorf("appending to a line changed the next one to %q", got)
	}
	if b.LineBytes() != len(strings.Join(want, "")) {
		t.Errorf("LineBytes = %d, want %d", b.LineBytes(), len(strings.Join(want, "")))
	}
	if b.Memory() < b.LineBytes()+len(b.Records)*24 {
		t.Errorf("Memory = %d, less than what it holds", b.Memory())
	}
}

func TestRoomIsNotCopied(t *testing.T) {
	b := record.NewBatch(&record.Source{}, 10)
	defer b.Release()
	var want []string
	for i := range 1000 {
		line := fmt.Sprintf("line %d", i)
		room := b.Room(100)
		n := copy(room, line)
		switch i % 3 {
		case 0: // the line is not at the front of the room
			line = line[1:]
			b.Append(record.Record{}, room[1:n])
		case 1: // nor in it at all
			b.Append(record.Record{}, []byte(line))
		default:
			b.Append(record.Record{}, room[:n])
		}
		want = append(want, line)
	}
	for i := range b.Records {
		if got := string(b.Line(&b.Records[i])); got != want[i] {
			t.Fatalf("line %d = %q, want %q", i, got, want[i])
		}
	}
	before := b.LineBytes()
	b.Append(record.Record{}, b.Room(5)[:0])
	if b.LineBytes() != before {
		t.Errorf("an empty line has %d bytes", b.LineBytes()-before)
	}
}

func TestPoolLeavesNothingBehind(t *testing.T) {
	for size := 1; size < 1<<21; size *= 4 {
		for range 100 {
			b := record.NewBatch(recordtest.NewLog("new").Source, size)
			if len(b.Records) != 0 || b.LineBytes() != 0 || b.Streams != 0 || !b.From.IsZero() || !b.To.IsZero() || b.Source.Key != "new" {
				t.Fatalf("a new batch of %d bytes is not empty: %+v", size, b)
			}
			c := record.Cursor{Streams: [record.NumStreams]record.Anchor{{Seq: 1}}}
			b.From, b.To = c, c
			b.Append(record.Record{Stream: record.Stderr}, make([]byte, size))
			b.Release()
		}
	}
}

func TestReleaseByTheLastHolder(t *testing.T) {
	b := record.NewBatch(&record.Source{Key: "held"}, 1)
	b.Append(record.Record{}, []byte("line"))
	b.Retain(8)
	var holders sync.WaitGroup
	for range 8 {
		holders.Go(func() {
			if got := string(b.Line(&b.Records[0])); got != "line" {
				t.Errorf("a held batch has %q", got)
			}
			b.Release()
		})
	}
	holders.Wait()
	if got := string(b.Line(&b.Records[0])); got != "line" || b.Source.Key != "held" {
		t.Errorf("a held batch has %q", got)
	}
	b.Release()
}

func TestReleaseTooOftenPanics(t *testing.T) {
	b := record.NewBatch(&record.Source{}, 1)
	b.Append(record.Record{}, make([]byte, 1<<20)) // too large for the pool
	b.Release()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	b.Release()
}

func TestLineHash(t *testing.T) {
	f := func(line string, want uint64) {
		t.Helper()
		if got := record.LineHash([]byte(line)); got != want {
			t.Errorf("LineHash(%q) = %x, want %x", line, got, want)
		}
	}
	// The test vectors of FNV's authors.
	f("", 0xcbf29ce484222325)
	f("a", 0xaf63dc4c8601ec8c)
	f("foobar", 0x85944171f73967e8)
	h := fnv.New64a()
	h.Write([]byte("any \x00\xff line"))
	f("any \x00\xff line", h.Sum64())
}
