package container

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"log_capturer/internal/record"
	"log_capturer/internal/testkit/fakeengine"
)

// TestRestartOfTheAgent ends the monitor in mid-stream again and again. What
// was not committed is gone from the sinks, which stand at different places.
func TestRestartOfTheAgent(t *testing.T) {
	bothFilters(t, func(t *testing.T, o fakeengine.Options) {
		random := rand.New(rand.NewPCG(1, 2))
		r := newRig(t, o)
		r.recorder = newRecorder(2)
		r.options.RotationInterval = 30 * time.Millisecond
		a, b := r.add(fakeengine.Config{}), r.add(fakeengine.Config{TTY: true})
		at := time.Now()
		for round := range 12 {
			r.start()
			for range 40 {
				at = at.Add(time.Duration(random.IntN(3)))
				a.say(record.Stream(random.IntN(2)), at, fmt.Sprint("line ", random.IntN(3)))
				b.say(record.Stdout, at, fmt.Sprint("line ", random.IntN(3)))
			}
			behind := round % 3 // 2: both are committed
			if behind < 2 {
				r.complete()
				r.recorder.set(behind, func(s *recordingSink) { s.hold = true })
			}
			a.say(record.Stderr, at, "late", "later")
			b.say(record.Stdout, at, "late", "later")
			if round%2 == 0 {
				r.complete()
			}
			r.stop()
			r.recorder.crash()
			for i := range 2 {
				r.recorder.set(i, func(s *recordingSink) { s.hold = false })
			}
		}
		r.start()
		r.complete()
		r.reopened(2)
		r.exact()
		r.healthy()
	})
}

// TestCommittedInTheMiddleOfABatch has a cursor that stands at any record.
func TestCommittedInTheMiddleOfABatch(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	r := newRig(t, fakeengine.Options{})
	r.recorder = newRecorder(2)
	c := r.add(fakeengine.Config{})
	at := time.Now()
	for i := range 300 {
		at = at.Add(time.Duration(random.IntN(2)) - time.Duration(random.IntN(10)/9))
		c.say(record.Stream(random.IntN(2)), at, fmt.Sprint("line ", i%7))
	}
	r.start()
	r.complete()
	key := keyPrefix + c.ID()
	for range 8 {
		r.stop()
		for i := range 2 {
			n := random.IntN(300)
			r.recorder.set(i, func(s *recordingSink) { s.committed[key] = cursorAfter(c, n) })
		}
		r.recorder.crash()
		r.start()
		r.complete()
		r.exact()
	}
	r.healthy()
}

// cursorAfter returns the cursor after the first n entries of a container's
// log, as a batch that began at its first line has it. All are whole lines.
func cursorAfter(c *speaker, n int) record.Cursor {
	b := record.NewBatch(&record.Source{}, 1<<10)
	defer b.Release()
	var run [record.NumStreams]struct {
		time  int64
		count uint32
	}
	for _, e := range c.order[:n+1] {
		r := &run[e.stream]
		if r.count == 0 || r.time != e.time {
			r.time, r.count = e.time, 0
		}
		r.count++
		b.Append(record.Record{Time: e.time, Ordinal: r.count, Stream: e.stream}, []byte(e.text))
	}
	for s := range b.To.Streams {
		b.To.Streams[s].AsOf = uint64(n + 1)
	}
	return b.CursorAt(n)
}

// TestAnchorGone rotates the log while no stream is open.
func TestAnchorGone(t *testing.T) {
	bothFilters(t, func(t *testing.T, o fakeengine.Options) {
		f := func(name string, streams int, retained int, close func(*rig), open func(*rig)) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, o)
				c := r.add(fakeengine.Config{})
				r.start()
				at := time.Now()
				for i := range 100 {
					c.say(record.Stream(i%streams), at.Add(time.Duration(i)), fmt.Sprint("line ", i))
				}
				r.complete()
				close(r)
				from := at.Add(time.Millisecond)
				for i := range 500 {
					c.Append(fakeengine.Line(record.Stream(i%streams), from, fmt.Sprint("lost ", i)))
				}
				for i := range retained {
					c.say(record.Stream(i%streams), from.Add(time.Duration(i)), fmt.Sprint("kept ", i))
				}
				c.Rotate(retained)
				open(r)
				r.eventually("a gap is counted", func() bool { return r.gaps() == 1 })
				c.say(record.Stdout, time.Now(), "after the gap")
				r.complete()
				r.stop()
				r.start()
				r.complete()
				r.exact()
				r.healthy() // the gap was the other monitor's
			})
		}
		down, up := (*rig).stop, (*rig).start
		f("small log", 1, 20, down, up)
		f("two streams", 2, 20, down, up)
		f("larger than a tail", 2, 3000, down, up)
		f("empty log", 1, 0, down, up)
		f("engine down", 2, 2000, func(r *rig) { r.engine.Down() }, func(r *rig) { r.engine.Up() })
	})
}

// TestAnchorOfOneSinkGone has one sink stand at a line that is gone, and another
// one at a line that is not.
func TestAnchorOfOneSinkGone(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	r.recorder = newRecorder(2)
	c := r.add(fakeengine.Config{})
	r.start()
	at := time.Now()
	c.say(record.Stdout, at, "one")
	r.complete()
	r.recorder.set(1, func(s *recordingSink) { s.hold = true })
	c.say(record.Stdout, at.Add(1), "two")
	c.say(record.Stdout, at.Add(2), "three")
	r.complete()
	r.stop()
	r.recorder.crash()
	c.Rotate(1)
	r.start()
	c.say(record.Stdout, at.Add(3), "four")
	r.eventually("the first sink has the line", func() bool { return len(r.recorder.got(0, c.ID(), 0)) == 4 })
	r.eventually("a gap is counted", func() bool { return r.gaps() == 1 })
	first, second := r.recorder.got(0, c.ID(), 0), r.recorder.got(1, c.ID(), 0)
	if len(first) != 4 || first[3].text != "four" {
		t.Errorf("the sink that was ahead has %v", first)
	}
	// The line "three" is the second sink's only loss beside "two": it is the
	// place from which both go on.
	if len(second) != 2 || second[1].text != "four" {
		t.Errorf("the sink that was behind has %v", second)
	}
}

// TestQuietStderrDoesNotCostAWholeLog holds that a silent stream must not make a resume read the whole log.
func TestQuietStderrDoesNotCostAWholeLog(t *testing.T) {
	f := func(t *testing.T, spoke bool) {
		r := newRig(t, fakeengine.Options{})
		r.options.RotationInterval = 200 * time.Millisecond
		c := r.add(fakeengine.Config{})
		at := time.Now().Add(-time.Minute)
		if spoke {
			c.say(record.Stderr, at, "long ago")
		}
		for i := range 5000 {
			c.say(record.Stdout, at.Add(time.Duration(i)*time.Millisecond), fmt.Sprint("line ", i))
		}
		r.start()
		r.complete()
		r.reopened(1)
		r.spy.asked()
		for i := range 10 {
			c.say(record.Stdout, time.Now(), fmt.Sprint("later ", i))
			r.complete()
			r.reopened(1)
		}
		r.exact()
		opens := r.spy.asked()
		for _, o := range opens {
			if o.Tail < 0 || o.Tail > 10*minTail {
				t.Errorf("a log was opened with tail %d after a rotation", o.Tail)
			}
		}
		if len(opens) < 10 {
			t.Errorf("%d openings were seen", len(opens))
		}
		r.stop()
		r.start()
		r.complete()
		for _, o := range r.spy.asked() {
			if o.Tail < 0 || o.Tail > firstTail {
				t.Errorf("a log was opened with tail %d after a restart", o.Tail)
			}
		}
		r.exact()
		r.healthy()
	}
	t.Run("never", func(t *testing.T) { t.Parallel(); f(t, false) })
	t.Run("long ago", func(t *testing.T) { t.Parallel(); f(t, true) })
}

// TestRestartAtAFastLog holds that a place is found in a log that grows all the time
// by reading a part of it: by the time that it is opened to be followed, more has come
// than while it was searched.
func TestRestartAtAFastLog(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	c := r.add(fakeengine.Config{})
	const burst = 2000
	n := 0
	say := func(lines int) {
		for range lines {
			c.say(record.Stdout, time.Now(), fmt.Sprint("line ", n))
			n++
		}
	}
	say(10 * burst)
	r.start()
	r.complete()
	r.stop()
	say(burst)
	// What comes with each of the three openings that it takes.
	var bursts [][]fakeengine.Entry
	for range 3 {
		var entries []fakeengine.Entry
		at := time.Now()
		for i := range burst {
			text := fmt.Sprint("line ", n)
			entries = append(entries, fakeengine.Line(record.Stdout, at.Add(time.Duration(i)), text))
			c.expect(record.Stdout, at.Add(time.Duration(i)), text, 0)
			n++
		}
		bursts = append(bursts, entries)
	}
	var openings atomic.Int64
	r.spy.asked()
	r.spy.meanwhile = func() {
		if i := openings.Add(1); int(i) <= len(bursts) {
			c.Append(bursts[i-1]...)
		}
	}
	r.start()
	r.complete()
	opens := r.spy.asked()
	for _, o := range opens {
		if o.Tail < 0 {
			t.Errorf("the whole log was read; all that was asked for is %+v", opens)
		}
	}
	if len(opens) != len(bursts) {
		t.Errorf("the log was opened %d times, want %d: %+v", len(opens), len(bursts), opens)
	}
	r.exact()
	r.healthy()
}

func TestStartAtEnd(t *testing.T) {
	bothFilters(t, func(t *testing.T, o fakeengine.Options) {
		r := newRig(t, o)
		r.options.StartAtEnd = true
		r.options.HeartbeatInterval = 50 * time.Millisecond
		old := r.add(fakeengine.Config{})
		before := time.Now().Add(-time.Minute)
		for i := range 100 {
			old.Append(fakeengine.Line(record.Stream(i%2), before, "before"))
		}
		r.start()
		r.eventually("the log is open", func() bool { return old.Streams().Open == 1 })
		old.say(record.Stdout, time.Now(), "after")
		fresh := r.add(fakeengine.Config{})
		fresh.say(record.Stdout, before, "of a container that came later")
		r.complete()
		// A restart reads on from there, also what came meanwhile.
		r.stop()
		old.say(record.Stderr, time.Now(), "meanwhile")
		r.start()
		r.complete()
		r.exact()
		r.healthy()
	})
}

// TestStartAtEndOfASilentContainer restarts the agent before the first line.
func TestStartAtEndOfASilentContainer(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	r.options.StartAtEnd = true
	c := r.add(fakeengine.Config{})
	c.Append(fakeengine.Line(record.Stdout, time.Now().Add(-time.Minute), "before"))
	r.start()
	r.eventually("the log is open", func() bool { return c.Streams().Open == 1 })
	r.stop()
	c.say(record.Stdout, time.Now(), "while it was down")
	r.start()
	r.complete()
	r.exact()
	r.healthy()
}
