package container

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"log_capturer/internal/record"
	"log_capturer/internal/tail"
	"log_capturer/internal/testkit/fakeengine"
)

// fileReader reads a container's files from a position, as the monitor and its
// set of files make it be read.
type fileReader struct {
	reader
	*fileLog
	path   string
	end    ending
	starts int
}

func newFileReader(t *rapid.T, path string, cursors ...record.Cursor) *fileReader {
	r := &fileReader{path: path}
	places := newCandidates(cursors)
	r.begin(t, position{cursor: places.oldest(), known: true, total: places.total}, places, false)
	return r
}

func (r *fileReader) begin(t *rapid.T, p position, places candidates, searching bool) {
	if r.starts++; r.starts > 3 {
		t.Fatal("the reading begins again and again")
	}
	in := intake{sink: &r.reader, stats: &counters{}, source: &atomic.Pointer[record.Source]{}, position: p}
	in.source.Store(&record.Source{Key: "container/model"})
	r.fileLog = newFileLog(in, r.path, modelMaxLine, places, searching)
	r.logger = slog.New(slog.DiscardHandler)
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
	r.known.Store(true)
	r.ran.Store(true)
	r.end = endAsk
	r.report = func(_ context.Context, result result) { r.end = result.end }
}

// read reads to the end of the files, in steps with the least buffer.
func (r *fileReader) read(t *rapid.T, stopped bool) {
	buffer := make([]byte, tail.MinBuffer)
	if stopped {
		r.stopped.Store(1)
	}
	for range 1000 {
		switch verdict := r.step(context.Background(), buffer); {
		case verdict == tail.Leave && r.end == endSearch:
			r.again(t)
		case verdict == tail.Leave:
			if r.end != endStopped {
				t.Fatalf("the reading ended with %d", r.end)
			}
			return
		case verdict == tail.Rest:
			if gaps := r.stats.gaps.Load(); gaps != 0 {
				t.Fatalf("%d suspected gaps", gaps)
			}
			return
		}
	}
	t.Fatal("the reading does not come to an end")
}

// again begins again with a search.
func (r *fileReader) again(t *rapid.T) {
	stopped := r.stopped.Load()
	if gaps := r.stats.gaps.Load(); gaps != 0 {
		t.Fatalf("%d suspected gaps", gaps)
	}
	r.fileLog.reader.Close()
	r.begin(t, r.position, r.places, true)
	r.stopped.Store(stopped)
}

func (r *fileReader) close() { r.fileLog.reader.Close() }

// TestFileModel reads a random log from files that are rotated, and goes on in it
// from any place at which sinks may stand: those that it had itself, those of
// the API, which name no file, and such as were read over the API since.
func TestFileModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "filemodel")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "x-json.log")
		must := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		var clocks [record.NumStreams]clock
		for s := range clocks {
			clocks[s] = clock{now: 1_000_000_000, used: map[int64]bool{}}
			clocks[s].move(0)
		}
		files := 0
		rotate := func() {
			for n := files; n > 0; n-- {
				must(os.Rename(fmt.Sprintf("%s.%d", path, n), fmt.Sprintf("%s.%d", path, n+1)))
			}
			if os.Rename(path, path+".1") == nil {
				files++
			}
		}
		write := func(n int) {
			for range n {
				if rapid.IntRange(0, 9).Draw(t, "rotate") == 0 {
					rotate()
				}
				s := rapid.IntRange(0, 3).Draw(t, "stream") / 3
				text := rapid.SampledFrom([]string{"a\n", "a\n", "b\n", "\n", "p", "a", "a line that is cut\n", "a piece that is cut"}).Draw(t, "text")
				e := fakeengine.Entry{Stream: record.Stream(s), Time: time.Unix(0, clocks[s].tick(t)), Data: []byte(text)}
				f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
				must(err)
				_, err = f.Write(e.JSON())
				must(err)
				must(f.Close())
			}
		}
		write(rapid.IntRange(1, 15).Draw(t, "entries"))
		first := newFileReader(t, path)
		defer first.close()
		first.read(t, false)
		write(rapid.IntRange(0, 15).Draw(t, "entries"))
		first.read(t, false)
		if rapid.Bool().Draw(t, "stopped") {
			first.read(t, true)
			for s := range clocks {
				clocks[s].move(1)
			}
		}
		cursors := append(slices.Clone(first.batches), first.inside...)
		cursors = append(cursors, record.Cursor{})
		draw := func() record.Cursor {
			c := rapid.SampledFrom(cursors).Draw(t, "cursor")
			switch rapid.IntRange(0, 3).Draw(t, "place") {
			case 0:
				c.Place = record.Place{}
			case 1:
				if stale := rapid.SampledFrom(cursors).Draw(t, "stale").Place; stale.Before(c.Place) {
					c.Place = stale
				}
			}
			return c
		}
		from := []record.Cursor{draw()}
		if rapid.Bool().Draw(t, "two sinks") {
			from = append(from, draw())
		}
		write(rapid.IntRange(0, 15).Draw(t, "more"))

		everything := newFileReader(t, path)
		defer everything.close()
		everything.read(t, true)
		again := newFileReader(t, path, from...)
		defer again.close()
		again.read(t, true)
		start := newCandidates(from).oldest()
		for s := range again.lines {
			want := everything.lines[s][start.Streams[s].Seq:]
			if !slices.Equal(again.lines[s], want) {
				t.Fatalf("%v from %+v:\n got %v\nwant %v", record.Stream(s), from, again.lines[s], want)
			}
		}
		// It stands where reading all at once ends, up to what is not known of
		// numbers of records that were left out.
		if n := len(again.batches); n > 0 {
			got, want := again.batches[n-1], everything.batches[len(everything.batches)-1]
			for s := range got.Streams {
				a, b := got.Streams[s], want.Streams[s]
				if a.Seq != b.Seq || a.Seq > 0 && (a.Time != b.Time || a.Count != b.Count || a.Hash != b.Hash) {
					t.Fatalf("%v ends at %+v, want %+v", record.Stream(s), a, b)
				}
			}
			if !got.Place.IsZero() && !bounds(got) {
				t.Fatalf("the place is behind the anchors: %+v", got)
			}
		}
	})
}
