package container

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"log_capturer/internal/record"
	"log_capturer/internal/testkit/fakeengine"
)

// bothFilters runs a test against engines whose time limit holds for a whole
// stream, and against those where it ends with its first match.
func bothFilters(t *testing.T, f func(t *testing.T, o fakeengine.Options)) {
	t.Run("old filter", func(t *testing.T) { t.Parallel(); f(t, fakeengine.Options{}) })
	t.Run("new filter", func(t *testing.T) {
		t.Parallel()
		f(t, fakeengine.Options{APIVersion: "1.47", SinceOnce: true})
	})
}

func TestManyLinesAtOneNanosecond(t *testing.T) {
	bothFilters(t, func(t *testing.T, o fakeengine.Options) {
		r := newRig(t, o)
		r.options.RotationInterval = 10 * time.Millisecond
		c := r.add(fakeengine.Config{})
		r.start()
		at := time.Now()
		for i := range 60 {
			if i%20 == 0 {
				at = at.Add(time.Nanosecond)
			}
			c.say(record.Stdout, at, "the same", "the same", fmt.Sprint("line ", i), "")
			c.say(record.Stderr, at, "the same", fmt.Sprint("error ", i))
			if i%6 == 0 {
				r.reopened(1)
			}
		}
		r.complete()
		r.eventually("20 rotations", func() bool { return r.value("log_capturer_stream_rotations_total") >= 20 })
		r.exact()
		r.healthy()
	})
}

// TestMoreLinesAtOneNanosecondThanATailHolds has its place far inside a run of
// lines of one time that neither begins nor ends within a tail of it.
func TestMoreLinesAtOneNanosecondThanATailHolds(t *testing.T) {
	f := func(t *testing.T, before, run, behind, place int) {
		r := newRig(t, fakeengine.Options{})
		c := r.add(fakeengine.Config{})
		at := time.Now()
		for i := range before {
			c.say(record.Stdout, at, fmt.Sprint("before ", i))
		}
		for i := range run {
			c.say(record.Stdout, at.Add(1), []string{"the same", fmt.Sprint("line ", i/2)}[i%2])
		}
		for i := range behind {
			c.say(record.Stdout, at.Add(2), fmt.Sprint("behind ", i))
		}
		r.start()
		r.complete()
		r.stop()
		r.recorder.set(0, func(s *recordingSink) { s.committed[keyPrefix+c.ID()] = cursorAfter(c, before+place) })
		r.recorder.crash()
		r.start()
		r.complete()
		r.exact()
		r.healthy()
	}
	t.Run("the whole log", func(t *testing.T) { t.Parallel(); f(t, 0, 3000, 0, 100) })
	t.Run("behind others", func(t *testing.T) { t.Parallel(); f(t, 100, 3000, 0, 1500) })
	t.Run("between others", func(t *testing.T) { t.Parallel(); f(t, 2000, 3000, 1500, 1499) })
}

// TestOnlyLineOfAStream has a place in one stream that is far behind the other.
func TestOnlyLineOfAStream(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	c := r.add(fakeengine.Config{})
	at := time.Now()
	for i := range 4000 {
		if i == 1000 {
			c.say(record.Stderr, at, "the only one")
		}
		at = at.Add(time.Microsecond)
		c.say(record.Stdout, at, fmt.Sprint("line ", i))
	}
	r.start()
	r.complete()
	r.stop()
	r.recorder.set(0, func(s *recordingSink) { s.committed[keyPrefix+c.ID()] = cursorAfter(c, 1003) })
	r.recorder.crash()
	r.start()
	r.complete()
	r.exact()
	r.healthy()
}

func TestClockStepsBack(t *testing.T) {
	f := func(t *testing.T, o fakeengine.Options, step time.Duration) {
		r := newRig(t, o)
		r.options.RotationInterval = 150 * time.Millisecond
		c := r.add(fakeengine.Config{})
		r.start()
		at := time.Now()
		for i := range 4 {
			for j := range 50 {
				at = at.Add(time.Microsecond)
				c.say(record.Stream(j%5/4), at, fmt.Sprint("line ", i, " ", j))
			}
			r.complete()
			r.reopened(2)
			at = at.Add(-step)
		}
		r.reopened(3)
		r.exact()
		r.healthy()
	}
	for _, step := range []time.Duration{time.Second, time.Minute} {
		t.Run(step.String(), func(t *testing.T) {
			bothFilters(t, func(t *testing.T, o fakeengine.Options) { f(t, o, step) })
		})
	}
}

// TestClockStepsBackAnHour goes beyond what the time limit of a reopening
// allows for. On an old engine the stream falls silent then, and the heartbeat
// finds it.
func TestClockStepsBackAnHour(t *testing.T) {
	bothFilters(t, func(t *testing.T, o fakeengine.Options) {
		r := newRig(t, o)
		r.options.HeartbeatInterval = 50 * time.Millisecond
		r.options.RotationInterval = 500 * time.Millisecond
		c := r.add(fakeengine.Config{})
		r.start()
		at := time.Now()
		for i := range 3 {
			for j := range 20 {
				at = at.Add(time.Microsecond)
				c.say(record.Stream(j%5/4), at, fmt.Sprint("line ", i, " ", j))
			}
			r.complete()
			r.reopened(1) // from now on the stream has a time limit
			at = at.Add(-time.Hour)
		}
		r.reopened(2)
		r.exact()
		r.healthy()
	})
}

// TestClockStepsBackWhileClosed has lines of an earlier time come while no
// stream is open.
func TestClockStepsBackWhileClosed(t *testing.T) {
	bothFilters(t, func(t *testing.T, o fakeengine.Options) {
		r := newRig(t, o)
		r.options.HeartbeatInterval = 50 * time.Millisecond
		c := r.add(fakeengine.Config{})
		r.start()
		at := time.Now()
		c.say(record.Stdout, at, "one", "two")
		r.complete()
		r.stop()
		for i := range 2000 { // more than the first tail
			c.say(record.Stream(i%2), at.Add(-time.Hour+time.Duration(i)), fmt.Sprint("earlier ", i))
		}
		r.start()
		r.complete()
		r.exact()
		r.healthy()
	})
}

func TestLongLinesAreCutAndResumedBetweenTheCuts(t *testing.T) {
	f := func(t *testing.T, tty bool) {
		r := newRig(t, fakeengine.Options{})
		r.options.MaxLineBytes = 40_000
		r.options.RotationInterval = 40 * time.Millisecond
		c := r.add(fakeengine.Config{TTY: tty})
		r.start()
		text := make([]byte, 0, 100_000)
		for len(text) < 100_000 {
			text = fmt.Appendf(text, "%d,", len(text))
		}
		text = text[:100_000]
		at := time.Now()
		cut := func(from, to int, flags record.Flags) { c.expect(record.Stdout, at, string(text[from:to]), flags) }
		cut(0, 40_000, record.Cut)
		cut(40_000, 80_000, record.Cut|record.Continued)
		cut(80_000, 100_000, record.Continued)
		pieces := fakeengine.Pieces(record.Stdout, at, string(text))
		for i, piece := range pieces {
			c.Append(piece)
			// A line of the other stream comes between the pieces.
			if !tty {
				c.say(record.Stderr, at.Add(time.Duration(i)), fmt.Sprint("between ", i))
			}
			r.reopened(2)
		}
		c.say(record.Stdout, at.Add(time.Second), "behind", strings.Repeat("x", 40_000))
		r.complete()
		r.reopened(2)
		r.exact()
		r.healthy()
	}
	t.Run("framed", func(t *testing.T) { t.Parallel(); f(t, false) })
	t.Run("tty", func(t *testing.T) { t.Parallel(); f(t, true) })
}

// TestUnterminatedLastLine has containers stop in the middle of a line and
// start again.
func TestUnterminatedLastLine(t *testing.T) {
	f := func(t *testing.T, tty, down bool) {
		r := newRig(t, fakeengine.Options{})
		c := r.add(fakeengine.Config{TTY: tty})
		r.start()
		for run := range 4 {
			at := time.Now()
			c.say(record.Stdout, at, fmt.Sprint("whole ", run))
			r.complete()
			if down {
				r.stop()
			}
			rest := fakeengine.Entry{Stream: record.Stdout, Time: at.Add(time.Microsecond), Data: []byte(fmt.Sprint("no end ", run))}
			c.Append(rest)
			c.expect(record.Stdout, rest.Time, string(rest.Data), record.Unterminated)
			c.Exit(0)
			if down {
				// It starts again before anyone has read the line.
				if run%2 == 0 {
					r.start()
					r.state(c, "stopped")
					r.complete()
				}
				c.Start()
				if run%2 == 1 {
					r.start()
				}
			} else {
				r.state(c, "stopped")
				r.complete()
				c.Start()
			}
			c.say(record.Stdout, time.Now(), fmt.Sprint("next ", run))
			r.complete()
			r.healthy()
		}
		r.exact()
	}
	t.Run("framed", func(t *testing.T) { t.Parallel(); f(t, false, false) })
	t.Run("tty", func(t *testing.T) { t.Parallel(); f(t, true, false) })
	t.Run("framed, agent down", func(t *testing.T) { t.Parallel(); f(t, false, true) })
	t.Run("tty, agent down", func(t *testing.T) { t.Parallel(); f(t, true, true) })
}

// TestUnterminatedLineOfTheOtherStream has a container start again that was
// stopped in the middle of a line of stderr, and write to stdout only.
func TestUnterminatedLineOfTheOtherStream(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	c := r.add(fakeengine.Config{})
	r.start()
	for run := range 3 {
		c.say(record.Stdout, time.Now(), fmt.Sprint("before ", run))
		at := time.Now()
		c.Append(fakeengine.Entry{Stream: record.Stderr, Time: at, Data: []byte("no end")})
		c.expect(record.Stderr, at, "no end", record.Unterminated)
		c.Exit(0)
		r.state(c, "stopped")
		r.complete()
		// The next run's lines are all there when the log is opened.
		for i := range 20 {
			c.say(record.Stdout, time.Now(), fmt.Sprint("run ", run, " line ", i))
		}
		c.Start()
		r.complete()
	}
	r.exact()
	r.healthy()
}

// TestLineThatFillsItsPieces is a line whose newline is an entry of its own,
// which a read may end in front of.
func TestLineThatFillsItsPieces(t *testing.T) {
	f := func(t *testing.T, tty bool) {
		r := newRig(t, fakeengine.Options{})
		r.options.RotationInterval = 20 * time.Millisecond
		r.options.Engine = slowly{r.spy}
		c := r.add(fakeengine.Config{TTY: tty})
		r.start()
		for i := range 4 {
			c.say(record.Stdout, time.Now(), strings.Repeat(fmt.Sprint(i), fakeengine.PieceSize))
			r.complete()
			r.reopened(3)
		}
		r.exact()
		r.healthy()
	}
	t.Run("framed", func(t *testing.T) { t.Parallel(); f(t, false) })
	t.Run("tty", func(t *testing.T) { t.Parallel(); f(t, true) })
}

// slowly is an Engine whose logs come a few bytes with each read.
type slowly struct{ Engine }

func (e slowly) Logs(ctx context.Context, id string, opts LogsOptions) (io.ReadCloser, error) {
	body, err := e.Engine.Logs(ctx, id, opts)
	return struct {
		io.Reader
		io.Closer
	}{few{body}, body}, err
}

type few struct{ io.Reader }

func (f few) Read(p []byte) (int, error) { return f.Reader.Read(p[:min(len(p), 31)]) }

// TestEndedUnseen has the engine end a followed log before its last line.
func TestEndedUnseen(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	c := r.add(fakeengine.Config{})
	r.start()
	c.say(record.Stdout, time.Now(), "seen")
	r.complete()
	at := time.Now()
	c.ExitUnseen(0, fakeengine.Entry{Stream: record.Stdout, Time: at, Data: []byte("unseen")})
	c.expect(record.Stdout, at, "unseen", record.Unterminated)
	r.complete()
	r.state(c, "stopped")
	r.exact()
	r.healthy()
}
