package container

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"log_capturer/internal/record"
	"log_capturer/internal/testkit/fakeengine"
)

// rotated are the options of a log that the engine rotates.
var rotated = map[string]string{"max-size": "10m", "max-file": "3"}

// checks returns how many doubtful entries were found to be what.
func (r *rig) checks(v verdict) float64 {
	return r.value("log_capturer_engine_repeat_checks_total", "verdict", string(v))
}

// followRotated starts a monitor of a container whose log is rotated.
func followRotated(t *testing.T) (*rig, *speaker) {
	r := newRig(t, fakeengine.Options{})
	c := r.add(fakeengine.Config{LogOpts: rotated})
	r.start()
	return r, c
}

// leftOut waits until n entries were left out.
func (r *rig) leftOut(n float64) {
	r.t.Helper()
	r.eventually(fmt.Sprint(n, " entries are left out"), func() bool { return r.value("log_capturer_engine_repeats_total") >= n })
	if got := r.value("log_capturer_engine_repeats_total"); got != n {
		r.t.Errorf("%v entries are left out, want %v", got, n)
	}
}

// again stops the monitor and starts a new one, which must go on at the same place.
func (r *rig) again() {
	r.t.Helper()
	r.complete()
	r.exact()
	r.healthy()
	r.stop()
	for _, c := range r.containers {
		c.say(record.Stdout, time.Now(), "after the restart")
	}
	r.start()
	r.complete()
	r.exact()
	r.healthy()
}

// TestEngineSendsTwice has the engine send the last n entries again, of logs that
// hold them once.
func TestEngineSendsTwice(t *testing.T) {
	long := strings.Repeat("p", fakeengine.PieceSize+10)
	for _, tty := range []bool{false, true} {
		for _, n := range []int{1, 2, 5, 9} {
			t.Run(fmt.Sprint(n, " entries, tty ", tty), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, fakeengine.Options{})
				c := r.add(fakeengine.Config{LogOpts: rotated, TTY: tty})
				r.start()
				at := time.Now()
				other := record.Stderr
				if tty {
					other = record.Stdout
				}
				for i := range 4 {
					c.say(record.Stdout, at.Add(time.Duration(3*i)), fmt.Sprint("line ", i))
					c.say(other, at.Add(time.Duration(3*i+1)), "the same")
					c.say(record.Stdout, at.Add(time.Duration(3*i+2)), fmt.Sprint(i, long))
				}
				r.complete()
				c.Resend(n)
				r.leftOut(float64(n))
				c.Resend(n) // and once more
				r.leftOut(float64(2 * n))
				if asked := r.checks(verdictRepeated); asked != 2 {
					t.Errorf("the engine was asked %v times about two repeats", asked)
				}
				c.say(record.Stdout, time.Now(), "behind it")
				c.say(other, time.Now(), "behind it")
				r.complete()
				c.Resend(1)
				r.leftOut(float64(2*n + 1))
				if opened := c.Streams().Opened; opened != 1 {
					t.Errorf("%d streams were opened, want the first one to go on", opened)
				}
				r.again()
			})
		}
	}
}

// TestEngineSendsTwiceAfterAList has streams opened again after the engine has
// listed the containers, which does not tell how their logs are rotated, while they
// waited for a lease.
func TestEngineSendsTwiceAfterAList(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	r.options.RotationInterval, r.options.ReconcileInterval, r.options.MaxStreams = 300*time.Millisecond, 20*time.Millisecond, 1
	c := r.add(fakeengine.Config{LogOpts: rotated})
	r.add(fakeengine.Config{LogOpts: rotated})
	r.start()
	for i := range 4 {
		c.say(record.Stdout, time.Now(), fmt.Sprint("line ", i))
		r.complete()
		opened := c.Streams().Opened
		r.eventually("its stream is opened again", func() bool { return c.Streams().Opened > opened })
	}
	c.say(record.Stdout, time.Now(), "the last")
	r.complete()
	r.eventually("what is sent twice is left out", func() bool {
		c.Resend(1) // lost where no stream is open
		time.Sleep(10 * time.Millisecond)
		r.exact()
		return t.Failed() || r.value("log_capturer_engine_repeats_total") > 0
	})
	r.again()
}

// TestEngineSendsAPieceTwice has a line whose second piece is the first entry of
// a new file, and is sent again while the line has no end yet.
func TestEngineSendsAPieceTwice(t *testing.T) {
	t.Parallel()
	r, c := followRotated(t)
	at := time.Now()
	c.say(record.Stdout, at.Add(-1), "before")
	text := strings.Repeat("a", fakeengine.PieceSize) + strings.Repeat("b", fakeengine.PieceSize) + "c"
	pieces := fakeengine.Pieces(record.Stdout, at, text)
	c.expect(record.Stdout, at, text, 0)
	c.Append(pieces[:2]...)
	// The other stream shows that the pieces have come.
	c.say(record.Stderr, at, "meanwhile")
	r.eventually("the pieces are read", func() bool { return len(r.recorder.got(0, c.ID(), record.Stderr)) == 1 })
	c.Resend(2)
	r.leftOut(2)
	c.Append(pieces[2:]...)
	r.complete()
	c.Resend(1)
	r.leftOut(3)
	r.again()
}

// TestWrittenTwice has containers that truly write a line twice at one nanosecond,
// and lines that are older than the one before.
func TestWrittenTwice(t *testing.T) {
	t.Parallel()
	r, c := followRotated(t)
	at := time.Now()
	c.say(record.Stdout, at, "first")
	r.complete()
	for i := range 3 {
		c.say(record.Stdout, at.Add(1), "twice")
		c.say(record.Stderr, at.Add(1), "twice")
		if i == 1 {
			c.say(record.Stdout, at.Add(1), "another")
		}
		r.complete()
	}
	c.say(record.Stdout, at.Add(-time.Hour), "the clock was set back", "the clock was set back")
	r.complete()
	if r.checks(verdictWritten) == 0 {
		t.Error("the engine was asked for none of it")
	}
	// One that is sent again is known among those that are written twice.
	for range 2 {
		c.Resend(1)
	}
	r.leftOut(2)
	c.Resend(2)
	r.leftOut(4)
	r.again()
}

// TestTwiceAtFullSpeed holds the asking bounded for a container that writes one
// line at one time for ever.
func TestTwiceAtFullSpeed(t *testing.T) {
	t.Parallel()
	r, c := followRotated(t)
	at := time.Now()
	began := time.Now()
	const bursts = 200
	for i := range bursts {
		c.say(record.Stdout, at.Add(time.Duration(i)), "same")
		c.say(record.Stdout, at.Add(time.Duration(i)), slices.Repeat([]string{"same"}, 50)...)
		r.complete()
	}
	most := asksAtOnce/noRepeatCost + 1 + int(time.Since(began)/askEvery)
	if asked := r.engine.Requests()[fakeengine.Logs] - c.Streams().Opened; asked > most {
		t.Errorf("the engine was asked %d times, at most %d are allowed", asked, most)
	}
	if r.checks(verdictUnknown) == 0 {
		t.Error("nothing was taken unasked")
	}
	r.again()
}

// TestCannotSay has the log rotated away before it is asked for.
func TestCannotSay(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	gate := &gate{Engine: r.spy}
	r.options.Engine = gate
	c := r.add(fakeengine.Config{LogOpts: rotated})
	r.start()
	at := time.Now()
	c.say(record.Stdout, at, "one")
	c.say(record.Stdout, at.Add(1), "two")
	r.complete()
	gate.before.Store(sync.OnceFunc(func() {
		c.say(record.Stdout, at.Add(2), "three")
		c.Rotate(1)
	}))
	c.Resend(1)
	r.eventually("it is taken", func() bool { return r.checks(verdictUnknown) == 1 })
	r.eventually("nothing is lost", func() bool {
		got := r.recorder.got(0, c.ID(), record.Stdout)
		return len(got) > 0 && got[len(got)-1].text == "three"
	})
	if got := r.value("log_capturer_engine_repeats_total"); got != 0 {
		t.Errorf("%v entries are left out", got)
	}
}

// TestOnlyEntryOfTheLog has a log that keeps no older file, so that the new one
// with its first line is all there is.
func TestOnlyEntryOfTheLog(t *testing.T) {
	t.Parallel()
	r, c := followRotated(t)
	at := time.Now()
	for i := range 10 {
		c.say(record.Stdout, at.Add(time.Duration(i)), fmt.Sprint("line ", i))
	}
	r.complete()
	c.Rotate(1)
	c.Resend(1)
	r.leftOut(1)
	r.again()
}

// gate is an Engine that does something before a log is asked for that is not to
// be followed.
type gate struct {
	Engine
	before atomic.Value
	hang   atomic.Bool
	hung   atomic.Int64
}

func (g *gate) Logs(ctx context.Context, id string, opts LogsOptions) (io.ReadCloser, error) {
	if !opts.Follow {
		if before, ok := g.before.Load().(func()); ok {
			before()
		}
		if g.hang.Load() {
			g.hung.Add(1)
			<-ctx.Done()
			return nil, ctx.Err()
		}
	}
	return g.Engine.Logs(ctx, id, opts)
}

// TestAskingHangs has the engine not answer what it is asked about a line.
func TestAskingHangs(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	gate := &gate{Engine: r.spy}
	r.options.Engine = gate
	c := r.add(fakeengine.Config{LogOpts: rotated})
	r.start()
	at := time.Now()
	for i := range 3 {
		c.say(record.Stdout, at.Add(time.Duration(i)), fmt.Sprint("line ", i))
	}
	r.complete()
	gate.hang.Store(true)
	c.Resend(2)
	c.say(record.Stdout, at.Add(10), "behind it")
	r.complete() // the log is opened again, and has it once
	if got := r.value("log_capturer_stream_reopens_total", "reason", "stuck"); got != 1 {
		t.Errorf("%v reopens for being stuck, want 1", got)
	}
	// A line that was written twice is not waited for again and again.
	c.say(record.Stdout, at.Add(10), "behind it")
	r.complete()
	if hung := gate.hung.Load(); hung != 2 {
		t.Errorf("%d questions were left without an answer, want 2", hung)
	}
	gate.hang.Store(false)
	r.again()
}

// TestAskingFails has the engine answer with errors.
func TestAskingFails(t *testing.T) {
	t.Parallel()
	r, c := followRotated(t)
	at := time.Now()
	for i := range 3 {
		c.say(record.Stdout, at.Add(time.Duration(i)), fmt.Sprint("line ", i))
	}
	r.complete()
	r.engine.FailNext(fakeengine.Logs, 1, 500, "scripted")
	c.Resend(2)
	c.say(record.Stdout, at.Add(10), "behind it")
	r.again()
}

// TestNotRotatedIsNotAskedFor has the log of a container that the engine does not
// rotate: whatever is in it was written.
func TestNotRotatedIsNotAskedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	c := r.add(fakeengine.Config{})
	r.start()
	at := time.Now()
	c.say(record.Stdout, at, "twice")
	r.complete()
	c.say(record.Stdout, at, "twice")
	c.say(record.Stdout, at.Add(-1), "older")
	r.complete()
	if asked := r.engine.Requests()[fakeengine.Logs]; asked != 1 {
		t.Errorf("%d logs were asked for, want the one that is followed", asked)
	}
	r.again()
}

// TestRepeatsModel follows a random log whose engine begins new files again. What
// is taken is the log, also where lines share a time, but for the order of those.
// Where the clock was set back, nothing is lost.
func TestRepeatsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var clocks [record.NumStreams]clock
		var before [record.NumStreams]struct {
			at   int64
			line bool
		}
		setBack, shared := false, false
		var log []logged
		line := map[int]bool{}
		write := func(s record.Stream, text string) {
			line[len(log)] = text != "piece"
			at := clocks[s].tick(t)
			setBack = setBack || at < before[s].at
			shared = shared || at == before[s].at && before[s].line
			before[s].at, before[s].line = at, line[len(log)]
			log = append(log, newLogged(s, at, []byte(text)))
		}
		var h heard
		var taken []logged
		take := func(at int) {
			h.take(log[at], line[at])
			taken = append(taken, log[at])
		}
		for s := range clocks {
			clocks[s] = clock{now: 1_000_000_000, used: map[int64]bool{}}
			clocks[s].move(0)
			write(record.Stream(s), "the first")
			clocks[s].move(1)
			take(s)
		}
		// The newest file's first entry, and the next that is sent.
		file, next := len(log), len(log)
		send := func(n int) {
			for ; n > 0 && next < len(log); n-- {
				e, at := log[next], next
				next++
				if h.replayed(e) {
					continue
				}
				if h.doubtful(e) {
					v, _ := h.judge(e, line[at], log)
					if v == verdictUnknown {
						t.Fatalf("it is unknown what %v is, in %v", e, log)
					}
					if v == verdictRepeated {
						h.resend(e, log)
						continue
					}
				}
				take(at)
			}
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				file = next // a new file begins with what is sent next
			case 1:
				next = file // and is sent from its beginning
			}
			for range rapid.IntRange(0, 4).Draw(t, "written") {
				write(record.Stream(rapid.IntRange(0, 1).Draw(t, "stream")), rapid.SampledFrom([]string{"a", "a", "b", "piece"}).Draw(t, "text"))
			}
			send(rapid.IntRange(0, 8).Draw(t, "sent"))
		}
		send(len(log))
		for stream := range clocks {
			other := func(e logged) bool { return e.stream != record.Stream(stream) }
			sent, taken := slices.DeleteFunc(slices.Clone(log), other), slices.DeleteFunc(slices.Clone(taken), other)
			if shared || setBack {
				slices.SortFunc(sent, compareLogged)
				slices.SortFunc(taken, compareLogged)
			}
			if !setBack && !slices.Equal(taken, sent) {
				t.Fatalf("taken\n%v of the log\n%v", taken, log)
			}
			rest := sent
			for _, e := range taken {
				if len(rest) > 0 && rest[0] == e {
					rest = rest[1:]
				}
			}
			if len(rest) > 0 {
				t.Fatalf("%v of the log\n%v\nare not among what was taken\n%v", rest, log, taken)
			}
		}
	})
}

func compareLogged(a, b logged) int {
	return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.hash, b.hash))
}

// TestRepeatsBetweenTransports changes over between a container's file and the API
// with what was sent twice in between: each finds the place of the other.
func TestRepeatsBetweenTransports(t *testing.T) {
	t.Parallel()
	r, _ := newFileRig(t)
	c := r.add(fakeengine.Config{LogOpts: rotated})
	at := time.Now()
	n := 0
	say := func() {
		for range 3 {
			n++
			// Two lines share each time, and their ordinals must be those of the log.
			c.say(record.Stdout, at.Add(time.Duration(n)), fmt.Sprint("line ", n), "the same")
			c.say(record.Stderr, at.Add(time.Duration(n)), "the same", "the same")
		}
		r.complete()
	}
	sent := 0.0
	for _, transport := range []Transport{TransportFile, TransportAPI, TransportFile, TransportAPI, TransportAPI, TransportFile} {
		r.options.Transport = TransportAuto
		if transport == TransportAPI {
			r.options.Transport = TransportAPI
		}
		r.start()
		r.transport(c, transport)
		say()
		if transport == TransportAPI {
			for i := range 2 {
				c.Resend(1 + 4*i)
				sent = float64(1 + 4*i)
				r.eventually("it is left out", func() bool {
					return r.value("log_capturer_engine_repeats_total") >= sent
				})
			}
			say()
		}
		r.exact()
		r.healthy()
		r.stop()
	}
	if sent == 0 {
		t.Error("nothing was sent twice")
	}
}
