package delivery_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"log_capturer/internal/delivery"
	"log_capturer/internal/delivery/deliverytest"
	"log_capturer/internal/positions"
	"log_capturer/internal/record"
	"log_capturer/internal/record/recordtest"
)

// byStream is a destination that takes the two streams apart.
type byStream struct{ *deliverytest.Destination }

func (byStream) Group(_ *record.Source, stream record.Stream) string { return stream.String() }

// TestRestartSkipsWhatWasCommitted says that a new delivery over the journal of
// an old one takes from a source that is read again, in whatever batches, just
// what is missing. The two streams stand at different places, within a batch.
func TestRestartSkipsWhatWasCommitted(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		log := recordtest.NewLog("container/a").Fill(rapid.IntRange(1, 30).Draw(rt, "lines"))
		fails := rapid.IntRange(1, 8).Draw(rt, "the attempt that fails for ever")
		largest := rapid.IntRange(1, 5).Draw(rt, "largest request")
		sizes := rapid.SliceOfN(rapid.IntRange(1, 12), 40, 40).Draw(rt, "batches")
		open := record.StreamSet(rapid.IntRange(0, int(record.AllStreams)).Draw(rt, "open"))
		apart := rapid.Bool().Draw(rt, "streams apart")
		fromCursor := rapid.Bool().Draw(rt, "from the cursor")
		var verdict deliverytest.Verdict
		synctest.Test(t, func(t *testing.T) {
			verdict.TB = t
			broken := true
			r := newRig(&verdict, nil, func(o *delivery.Options) {
				d := o.Sink.(*deliverytest.Destination)
				d.Answer = func(_ context.Context, a deliverytest.Attempt) error {
					switch {
					case len(a.Records) > largest:
						return &delivery.TooLargeError{Err: errDown}
					case broken && a.Number >= fails:
						return errDown
					}
					return nil
				}
				if apart {
					o.Sink = byStream{d}
				}
			})
			feed := func(sizes []int, from ...record.Cursor) {
				reader := log.Read(from...)
				reader.Open = open
				for _, n := range sizes {
					if b := reader.Next(n); b != nil {
						r.give(b)
					}
				}
			}
			r.start()
			feed(sizes[:20])
			time.Sleep(time.Minute)
			r.stop()

			broken = false
			r.restart()
			if fromCursor {
				// As where another sink stands somewhere before.
				before := log.Read()
				if b := before.Next(int(r.cursor(log).Total()) / 2); b != nil {
					b.Release()
				}
				feed(sizes[20:], r.cursor(log), before.Cursor())
			} else {
				feed(sizes[20:])
			}
			feed([]int{30}, r.cursorAfterAll(log))
			r.drain()
			for s := range record.Stream(record.NumStreams) {
				if got, want := r.destination.TakenOf(log.Source.Key, s), log.Lines(s); !slices.Equal(got, want) {
					verdict.Errorf("%v: taken\n%q, want\n%q", s, got, want)
				}
			}
		})
		if err := verdict.Err(); err != "" {
			rt.Fatal(err)
		}
	})
}

// TestStreamsAtDifferentPlacesShareARequest says that a sink which has the one
// stream further than the other gets of a batch just what it lacks of each.
func TestStreamsAtDifferentPlacesShareARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, nil)
		log := recordtest.NewLog("container/a").Fill(8) // 0, 2, 4 and 6 on stdout
		b := log.Read().Next(8)
		had := b.CursorAt(6)
		had.Streams[record.Stderr] = b.CursorAt(2).Streams[record.Stderr]
		if err := r.StartAt(log.Source.Key, had); err != nil {
			t.Fatal(err)
		}
		r.start()
		r.give(b)
		r.drain()
		r.wantTaken("container/a line 6", "container/a line 3", "container/a line 5", "container/a line 7")
		if got := r.cursor(log).Total(); got != 8 {
			t.Errorf("cursor at %d, want 8", got)
		}
	})
}

// cursorAfterAll waits until everything is delivered and returns the cursor.
func (r *rig) cursorAfterAll(log *recordtest.Log) record.Cursor {
	time.Sleep(time.Hour)
	return r.cursor(log)
}

// lengths is a destination that takes the streams apart and commits with each
// request how much it has taken of its stream, as files do.
type lengths struct{ byStream }

func (d lengths) Send(ctx context.Context, req *delivery.Request) error {
	if err := d.byStream.Send(ctx, req); err != nil {
		return err
	}
	n := 0
	for range req.All() {
		n++
	}
	req.Changes = append(req.Changes, positions.Change{Key: req.Group, Value: []byte{byte(n)}})
	return nil
}

// TestEmptyRequestCommitsNoOldChanges says that a batch of which nothing is left
// for a group does not commit what an earlier request had to say.
func TestEmptyRequestCommitsNoOldChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, func(o *delivery.Options) {
			o.Sink = lengths{byStream{o.Sink.(*deliverytest.Destination)}}
		})
		log := recordtest.NewLog("container/a").Fill(8)
		// All of stdout is there already.
		had := log.Read().Next(8).To
		had.Streams[record.Stderr] = record.Anchor{}
		if err := r.StartAt(log.Source.Key, had); err != nil {
			t.Fatal(err)
		}
		r.start()
		other := recordtest.NewLog("container/b").Fill(1)
		r.give(other.Read().Next(1)) // sets "stdout" in the first request
		synctest.Wait()
		r.give(log.Read().Next(8))
		r.drain()
		sets := 0
		for _, changes := range r.journal.Commits() {
			for _, c := range changes {
				if c.Key == "stdout" {
					sets++
				}
			}
		}
		if sets != 1 {
			t.Errorf("stdout's length was committed %d times, and changed once", sets)
		}
	})
}

// TestKnownSource says that a source is known to a sink from StartAt on, with
// nothing delivered, and until Forget.
func TestKnownSource(t *testing.T) {
	r := newRig(t, nil, nil)
	log := lines("a", "b")
	later := log.Read().Next(2).To
	want := func(at record.Cursor, known bool) {
		t.Helper()
		for range 2 { // and once more after a restart
			got, ok, err := r.Cursor(log.Source.Key)
			if err != nil || ok != known || got != at {
				t.Errorf("Cursor = %+v, %v, %v, want %+v, %v", got, ok, err, at, known)
			}
			r.Delivery = delivery.New(r.opts)
		}
	}
	startAt := func(at record.Cursor) {
		t.Helper()
		if err := r.StartAt(log.Source.Key, at); err != nil {
			t.Error(err)
		}
	}
	want(record.Cursor{}, false)
	startAt(record.Cursor{})
	want(record.Cursor{}, true)
	startAt(later)
	want(record.Cursor{}, true)
	if err := r.Forget(log.Source.Key); err != nil {
		t.Error(err)
	}
	want(record.Cursor{}, false)
	if keys := r.journal.Keys(); len(keys) != 0 {
		t.Errorf("the journal still has %q", keys)
	}
	r.journal.Before(func([]positions.Change) error { return errDown })
	if err := r.StartAt(log.Source.Key, later); err == nil {
		t.Error("StartAt hides that the journal fails")
	}
	want(record.Cursor{}, false)
	r.journal.Before(nil)
	startAt(later)
	want(later, true)
}

func TestUnreadablePosition(t *testing.T) {
	r := newRig(t, nil, nil)
	log := lines("a")
	if err := r.journal.Commit(positions.Change{Key: "cursor/files/container/a", Value: []byte{9}}); err != nil {
		t.Fatal(err)
	}
	const want = `read position of "container/a" for sink "files": decode cursor: version 9 is not known to this build`
	b := log.Read().Next(1)
	for _, err := range []error{
		r.Enqueue(t.Context(), b),
		func() error { _, err := r.TryEnqueue(b); return err }(),
		func() error { _, _, err := r.Cursor("container/a"); return err }(),
		r.StartAt("container/a", b.To),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
