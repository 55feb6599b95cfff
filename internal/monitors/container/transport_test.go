package container

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"log_capturer/internal/health"
	"log_capturer/internal/record"
	"log_capturer/internal/tail"
	"log_capturer/internal/testkit/fakeengine"
)

// newFileRig returns a rig whose engine keeps json-files, which the monitor sees
// through a link that a test may take away.
func newFileRig(t *testing.T) (r *rig, root string) {
	t.Helper()
	real := filepath.Join(t.TempDir(), "real")
	if err := os.MkdirAll(filepath.Join(real, "containers"), 0o755); err != nil {
		t.Fatal(err)
	}
	root = filepath.Join(t.TempDir(), "root")
	if err := os.Symlink(real, root); err != nil {
		t.Fatal(err)
	}
	r = newRig(t, fakeengine.Options{DataRoot: real})
	r.options.Transport, r.options.DataRoot = TransportAuto, root
	r.options.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	return r, root
}

// transport waits until a container is read in a way.
func (r *rig) transport(c *speaker, want Transport) {
	r.t.Helper()
	r.eventually(c.Name()+" is read from "+string(want), func() bool {
		for _, other := range r.monitor.Containers() {
			if other.ID == c.ID() {
				return other.Transport == want && other.State == "reading" && other.Lease == (want == TransportAPI)
			}
		}
		return false
	})
}

// unopened sees that nothing was read over the API.
func (r *rig) unopened() {
	r.t.Helper()
	if n := r.engine.Streams().Opened; n != 0 {
		r.t.Errorf("%d streams of the engine were opened", n)
	}
}

// TestFile reads containers of all kinds from their files.
func TestFile(t *testing.T) {
	t.Parallel()
	r, _ := newFileRig(t)
	early, tty := r.add(fakeengine.Config{}), r.add(fakeengine.Config{TTY: true})
	at := time.Now()
	long := strings.Repeat("long ", 100_000)
	early.say(record.Stdout, at, "before", "", long)
	tty.say(record.Stdout, at, "a\r", "b")
	r.start()
	r.complete()
	late := r.add(fakeengine.Config{})
	for _, c := range r.containers {
		r.transport(c, TransportFile)
		c.say(record.Stdout, at.Add(1), "live", "\x00\"quoted\" \\ <é>")
		c.say(record.Stderr, at.Add(1), "error")
	}
	r.complete()
	// An unterminated line is a record when its container has stopped.
	early.Append(fakeengine.Entry{Stream: record.Stdout, Time: at.Add(2), Data: []byte("no end")})
	early.expect(record.Stdout, at.Add(2), "no end", record.Unterminated)
	early.Exit(0)
	r.complete()
	r.state(early, "stopped")
	early.Start()
	early.say(record.Stdout, at.Add(3), "second run")
	r.complete()
	// In a container that runs it is one when the next line has another time.
	late.Append(fakeengine.Entry{Stream: record.Stderr, Time: at.Add(4), Data: []byte("first run's last")})
	late.expect(record.Stderr, at.Add(4), "first run's last", record.Unterminated)
	late.say(record.Stderr, at.Add(5), "second run")
	r.complete()
	for _, c := range r.containers {
		c.Exit(0)
		r.state(c, "stopped")
		c.Remove()
	}
	r.eventually("all are gone", func() bool { return len(r.monitor.Containers()) == 0 })
	r.healthy()
	r.unopened()
}

// TestFileResume ends the monitor in mid-stream again and again, while files are
// rotated and compressed. What was not committed is gone from the sinks, which
// stand at different places.
func TestFileResume(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	r, _ := newFileRig(t)
	r.recorder = newRecorder(2)
	a, b := r.add(fakeengine.Config{}), r.add(fakeengine.Config{})
	at := time.Now()
	say := func(c *speaker) {
		at = at.Add(time.Duration(random.IntN(3)))
		text := fmt.Sprint("line ", random.IntN(3))
		if random.IntN(10) == 0 {
			text = strings.Repeat(text, 10_000)
		}
		c.say(record.Stream(random.IntN(2)), at, text)
	}
	for round := range 12 {
		r.start()
		for range 40 {
			say(a)
			say(b)
		}
		a.RotateFile(10)
		say(a)
		if behind := round % 3; behind < 2 { // 2: both are committed
			r.complete()
			r.recorder.set(behind, func(s *recordingSink) { s.hold = true })
		}
		say(a)
		say(b)
		if round%2 == 0 {
			r.complete()
		}
		if n := r.value("log_capturer_position_searches_total"); n != 0 {
			t.Errorf("%v searches for positions whose places are there", n)
		}
		r.stop()
		r.recorder.crash()
		for i := range 2 {
			r.recorder.set(i, func(s *recordingSink) { s.hold = false })
		}
		// The agent's downtime, with more rotations.
		for range random.IntN(3) {
			say(a)
			a.RotateFile(10)
			say(a)
		}
	}
	r.start()
	r.complete()
	r.healthy()
	r.unopened()
}

// TestChangeOver takes the files away and brings them back while containers
// write: each line comes once, over the one or the other.
func TestChangeOver(t *testing.T) {
	t.Parallel()
	r, root := newFileRig(t)
	r.options.ReconcileInterval = 20 * time.Millisecond
	r.options.files = tail.SetOptions{Poll: 5 * time.Millisecond, MaxPoll: 20 * time.Millisecond, WatchedPoll: 5 * time.Millisecond, MaxWatchedPoll: 20 * time.Millisecond}
	r.options.RotationInterval = 50 * time.Millisecond
	a, b := r.add(fakeengine.Config{}), r.add(fakeengine.Config{})
	other := r.add(fakeengine.Config{LogDriver: "local"})
	real, err := os.Readlink(root)
	if err != nil {
		t.Fatal(err)
	}
	at, line := time.Now(), 0
	say := func() {
		for _, c := range r.containers {
			at = at.Add(time.Duration(line % 2))
			c.say(record.Stream(line%2), at, fmt.Sprint("line ", line%5))
			line++
		}
	}
	say()
	r.start()
	for round := range 12 {
		r.transport(a, TransportFile)
		r.transport(b, TransportFile)
		r.transport(other, TransportAPI)
		say()
		if err := os.Remove(root); err != nil {
			t.Fatal(err)
		}
		if round%2 == 0 {
			say()
		}
		r.transport(a, TransportAPI)
		r.transport(b, TransportAPI)
		say()
		if err := os.Symlink(real, root); err != nil {
			t.Fatal(err)
		}
		if round%3 == 0 {
			say()
		}
	}
	r.complete()
	r.healthy()
	for _, transport := range []string{"file", "api"} {
		if n := r.value("log_capturer_transport_changes_total", "transport", transport); n < 22 {
			t.Errorf("%v changes to %s, want 24 or nearly", n, transport)
		}
	}
}

// TestForcedTransport has containers that can't be read in the way that is
// forced, and one that can.
func TestForcedTransport(t *testing.T) {
	t.Parallel()
	r, _ := newFileRig(t)
	r.options.Transport, r.options.ReconcileInterval = TransportFile, 50*time.Millisecond
	good, other := r.add(fakeengine.Config{}), r.add(fakeengine.Config{LogDriver: "local"})
	good.say(record.Stdout, time.Now(), "a")
	other.Append(fakeengine.Line(record.Stdout, time.Now(), "not read"))
	r.start()
	r.transport(good, TransportFile)
	r.complete()
	r.state(other, "error")
	r.health(health.Degraded, other.Name(), "json-file")
	r.unopened()
	r.stop()
	r.options.Transport = TransportAPI
	r.start()
	r.transport(good, TransportAPI)
	r.transport(other, TransportAPI)
	r.eventually("both say why", func() bool {
		for _, c := range r.monitor.Containers() {
			if c.TransportReason != "container_monitor.transport is api" {
				return false
			}
		}
		return true
	})
	good.say(record.Stderr, time.Now(), "b")
	r.eventually("all is read", func() bool {
		return len(r.recorder.got(0, good.ID(), record.Stderr)) == 1 && len(r.recorder.got(0, other.ID(), record.Stdout)) == 1
	})
}

// TestFileStartAtEnd leaves out what was written before the agent was there, also
// what had been rotated by then, and nothing else.
func TestFileStartAtEnd(t *testing.T) {
	t.Parallel()
	r, _ := newFileRig(t)
	r.options.StartAtEnd = true
	c := r.add(fakeengine.Config{})
	old := time.Now().Add(-time.Hour)
	for range 3 {
		c.Append(fakeengine.Line(record.Stdout, old, "old"), fakeengine.Line(record.Stderr, old, "old"))
		c.RotateFile(5)
	}
	c.Append(fakeengine.Line(record.Stdout, old, "old"))
	for range 3 {
		r.start()
		r.transport(c, TransportFile)
		c.say(record.Stdout, time.Now(), "new")
		r.complete()
		c.RotateFile(5)
		c.say(record.Stderr, time.Now(), "new")
		r.complete()
		r.healthy()
		r.stop()
		c.say(record.Stderr, time.Now(), "while the agent was down")
	}
	r.start()
	r.complete()
	r.healthy()
}
