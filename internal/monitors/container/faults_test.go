package container

import (
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"log_capturer/internal/health"
	"log_capturer/internal/record"
	"log_capturer/internal/testkit/fakeengine"
)

func TestStalledStreamIsReopened(t *testing.T) {
	bothFilters(t, func(t *testing.T, o fakeengine.Options) {
		r := newRig(t, o)
		r.options.HeartbeatInterval = 30 * time.Millisecond
		c := r.add(fakeengine.Config{})
		r.start()
		c.say(record.Stdout, time.Now(), "one")
		c.say(record.Stdout, time.Now(), "two")
		r.complete()
		for i := range 3 {
			c.Stall()
			c.say(record.Stdout, time.Now(), fmt.Sprint("hidden ", i))
			c.say(record.Stderr, time.Now(), fmt.Sprint("hidden ", i))
			r.complete()
		}
		if got := r.value("log_capturer_stream_reopens_total", "reason", "stuck"); got != 3 {
			t.Errorf("%v reopens for being stuck, want 3", got)
		}
		// Streams that are silent because nothing is said are left alone.
		probes := r.value("log_capturer_stream_probes_total")
		r.eventually("more probes", func() bool { return r.value("log_capturer_stream_probes_total") > probes+5 })
		if got := r.value("log_capturer_stream_reopens_total", "reason", "stuck"); got != 3 {
			t.Errorf("%v reopens for being stuck after a silence, want 3", got)
		}
		r.exact()
		r.healthy()
	})
}

func TestStreamThatStallsFromItsBeginning(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	r.options.HeartbeatInterval = 30 * time.Millisecond
	c := r.add(fakeengine.Config{})
	r.start()
	r.eventually("the log is open", func() bool { return c.Streams().Open == 1 })
	c.Stall()
	c.say(record.Stdout, time.Now(), "the first line")
	r.complete()
	r.exact()
	r.healthy()
}

// TestStreamsBreakOff has streams end in every way at every line.
func TestStreamsBreakOff(t *testing.T) {
	faults := map[string]fakeengine.Fault{
		"end": fakeengine.End, "reset": fakeengine.Reset, "torn frame": fakeengine.TornFrame,
		"torn header": fakeengine.TornHeader, "bad header": fakeengine.BadHeader, "engine error": fakeengine.EngineError,
	}
	for name, fault := range faults {
		for _, tty := range []bool{false, true} {
			if tty && (fault == fakeengine.TornHeader || fault == fakeengine.BadHeader || fault == fakeengine.EngineError) {
				continue // there are no frames
			}
			t.Run(fmt.Sprint(name, ", tty ", tty), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, fakeengine.Options{})
				c := r.add(fakeengine.Config{TTY: tty})
				at := time.Now()
				for i := range 6 {
					c.say(record.Stdout, at.Add(time.Duration(i)), fmt.Sprint("line ", i))
				}
				for after := range 4 {
					c.FailNext(fault, after+1)
				}
				r.start()
				r.complete()
				for i := range 2 {
					opened := c.Streams().Opened
					c.Break(fault)
					r.eventually("it is opened again", func() bool { return c.Streams().Opened > opened })
					c.say(record.Stdout, time.Now(), fmt.Sprint("after the break ", i))
					r.complete()
				}
				r.exact()
				reason := "error"
				if fault == fakeengine.End || tty && fault == fakeengine.TornFrame || fault == fakeengine.TornHeader || fault == fakeengine.TornFrame {
					reason = "ended"
				}
				if got := r.value("log_capturer_stream_reopens_total", "reason", reason); got < 5 {
					t.Errorf("%v reopens for %s, want at least 5", got, reason)
				}
				r.healthy()
			})
		}
	}
}

// TestContainerThatEndsAgainAndAgain is a container whose log ends at once
// although it runs, as between two restarts. It does not wait for a stream.
func TestContainerThatEndsAgainAndAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	c := r.add(fakeengine.Config{})
	for range 6 {
		c.FailNext(fakeengine.End, 0)
	}
	r.start()
	bound := r.value("log_capturer_stream_wait_bound_seconds")
	r.eventually("ready", r.monitor.Ready)
	r.eventually("five streams have ended", func() bool {
		if wait := r.value("log_capturer_stream_longest_wait_seconds"); wait > bound {
			t.Fatalf("a container is said to have waited %v s, the bound is %v s", wait, bound)
		}
		if h := r.monitor.Health()[0]; h.Status != health.Healthy {
			t.Fatalf("health is %+v", h)
		}
		return r.value("log_capturer_stream_reopens_total", "reason", "ended") >= 5
	})
	// Its start is seen at once, however long the pause was to be.
	c.Start()
	c.say(record.Stdout, time.Now(), "started")
	r.complete()
	r.healthy()
}

// TestPauseAfterAFailureIsNoWaitForAStream looks into the longest of pauses.
func TestPauseAfterAFailureIsNoWaitForAStream(t *testing.T) {
	m := New(Options{MaxStreams: 1, RotationInterval: time.Minute, Logger: slog.New(slog.DiscardHandler)})
	m.listed = true
	now := time.Now()
	e := &entry{info: Info{ID: "x"}, counters: &counters{}, waitingSince: now.Add(-9 * time.Second), failures: 10}
	m.table["x"] = e
	if h := m.Health()[0]; h.Status != health.Degraded {
		t.Errorf("health is %+v for one who waits", h)
	}
	e.retry(now)
	if h := m.Health()[0]; h.Status != health.Healthy {
		t.Errorf("health is %+v in a pause", h)
	}
	if c := m.Containers()[0]; c.Waiting != 0 || c.Reason == "" {
		t.Errorf("the container is said to be %+v", c)
	}
}

func TestConflict(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	c := r.add(fakeengine.Config{State: fakeengine.Dead})
	c.say(record.Stdout, time.Now(), "a line")
	r.start()
	r.state(c, "error")
	r.health(health.Degraded, "reading fails for 1 container", c.Name(), "dead or being removed")
	c.SetState(fakeengine.Running)
	r.complete()
	r.health(health.Healthy)
	r.exact()
	// It is removed in the end.
	c.SetState(fakeengine.Removing)
	c.Break(fakeengine.End)
	r.state(c, "error")
	c.Remove()
	r.eventually("it is forgotten", func() bool { return r.stateOf(c) == "" })
	r.health(health.Healthy)
}

func TestUnreadable(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	bad, good := r.add(fakeengine.Config{LogDriver: "none"}), r.add(fakeengine.Config{})
	r.start()
	good.say(record.Stdout, time.Now(), "a line")
	r.state(bad, "unreadable")
	r.health(health.Degraded, "1 containers are not captured", bad.Name(), "log driver none can't be read")
	r.complete()
	r.state(good, "reading")
	if got := r.value("log_capturer_containers", "state", "unreadable"); got != 1 {
		t.Errorf("%v containers are unreadable, want 1", got)
	}
	for _, c := range r.monitor.Containers() {
		if c.ID == bad.ID() && c.Reason == "" {
			t.Error("the unreadable container has no reason")
		}
	}
	bad.Remove()
	r.health(health.Healthy)
}

func TestEngineErrors(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	r.options.ReconcileInterval = 50 * time.Millisecond
	c := r.add(fakeengine.Config{})
	for _, endpoint := range []fakeengine.Endpoint{fakeengine.Logs, fakeengine.Inspect, fakeengine.List, fakeengine.Events} {
		r.engine.FailNext(endpoint, 2, http.StatusInternalServerError, "scripted")
	}
	c.say(record.Stdout, time.Now(), "a line")
	r.start()
	r.complete()
	r.health(health.Healthy)
	r.exact()
}

func TestEngineAwayAndBack(t *testing.T) {
	bothFilters(t, func(t *testing.T, o fakeengine.Options) {
		r := newRig(t, o)
		stays, goes, ends := r.add(fakeengine.Config{}), r.add(fakeengine.Config{}), r.add(fakeengine.Config{TTY: true})
		r.start()
		say := func(c *speaker, text string) { c.say(record.Stdout, time.Now(), text) }
		for i := range 2 {
			for _, c := range r.containers {
				say(c, fmt.Sprint("before ", i))
			}
			r.complete()
			r.health(health.Healthy)
			r.engine.Down()
			r.health(health.Unhealthy, "no answer from the container engine", r.engine.Host())
			if up := r.value("log_capturer_engine_up"); up != 0 {
				t.Errorf("engine_up is %v without an engine", up)
			}
			for _, c := range r.containers {
				if state := r.stateOf(c); state == "reading" || state == "stopped" {
					// The stream's end may come a moment later.
					r.eventually("it is not said to be read", func() bool { return r.stateOf(c) != "reading" })
				}
			}
			for _, c := range r.containers {
				say(c, fmt.Sprint("meanwhile ", i))
			}
			if i == 1 {
				goes.Remove()
				goes.said[0] = goes.said[0][:3]
				ends.Exit(1)
			}
			fresh := r.add(fakeengine.Config{})
			say(fresh, "of a new one")
			r.engine.Up()
		}
		r.complete()
		r.state(ends, "stopped")
		r.state(stays, "reading")
		r.eventually("the removed one is gone", func() bool { return r.stateOf(goes) == "" })
		r.health(health.Healthy)
		if up := r.value("log_capturer_engine_up"); up != 1 {
			t.Errorf("engine_up is %v", up)
		}
		r.exact()
	})
}

func TestNoEngineAtTheStart(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	c := r.add(fakeengine.Config{})
	c.say(record.Stdout, time.Now(), "a line")
	r.engine.Down()
	r.start()
	r.health(health.Unhealthy, "no answer")
	if r.monitor.Ready() {
		t.Error("ready without a list")
	}
	r.engine.Up()
	r.complete()
	r.health(health.Healthy)
	if !r.monitor.Ready() {
		t.Error("not ready after a list")
	}
}
