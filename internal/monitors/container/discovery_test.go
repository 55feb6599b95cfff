package container

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"log_capturer/internal/record"
	"log_capturer/internal/testkit/fakeengine"
)

// TestEventsLost has everything happen unseen. The next list repairs it.
func TestEventsLost(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	r.options.ReconcileInterval = 50 * time.Millisecond
	old := r.add(fakeengine.Config{})
	r.start()
	say := func(c *speaker, text string) { c.say(record.Stdout, time.Now(), text) }
	say(old, "one")
	r.complete()
	r.engine.LoseEvents(true)

	fresh := r.add(fakeengine.Config{})
	say(fresh, "a start that was not seen")
	r.complete()

	say(old, "the last one")
	old.Exit(0)
	r.complete()
	r.state(old, "stopped")

	old.Start()
	say(old, "started again")
	r.complete()
	r.state(old, "reading")

	old.Exit(0)
	r.state(old, "stopped")
	old.Start()
	say(old, "ran again unnoticed")
	old.Exit(0)
	r.complete()
	r.state(old, "stopped")

	old.Remove()
	r.eventually("it is gone", func() bool { return r.stateOf(old) == "" })

	fresh.Rename("renamed")
	r.eventually("the name is known", func() bool {
		return slices.ContainsFunc(r.monitor.Containers(), func(c Container) bool { return c.ID == fresh.ID() && c.Name == "renamed" })
	})
	say(fresh, "under its new name")
	r.complete()
	r.names(fresh, "scripted_2", "renamed")
	r.exact()
	r.healthy()
}

// names sees by which names a container's lines came.
func (r *rig) names(c *speaker, want ...string) {
	r.t.Helper()
	r.recorder.mu.Lock()
	defer r.recorder.mu.Unlock()
	if got := r.recorder.sinks[0].names[keyPrefix+c.ID()]; !slices.Equal(got, want) {
		r.t.Errorf("lines came from containers named %q, want %q", got, want)
	}
}

func TestEventStreamIsCut(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	a := r.add(fakeengine.Config{})
	r.start()
	a.say(record.Stdout, time.Now(), "one")
	r.complete()
	for i := range 2 {
		r.engine.LoseEvents(true)
		b := r.add(fakeengine.Config{})
		b.say(record.Stdout, time.Now(), fmt.Sprint("unseen ", i))
		r.engine.LoseEvents(false)
		r.engine.CutEvents()
		r.complete()
		c := r.add(fakeengine.Config{})
		c.say(record.Stdout, time.Now(), fmt.Sprint("seen again ", i))
		r.complete()
	}
	r.exact()
	r.healthy()
}

func TestRename(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	c := r.add(fakeengine.Config{Name: "before", Labels: map[string]string{
		"com.docker.compose.project": "shop", "com.docker.compose.service": "web",
	}})
	r.start()
	c.say(record.Stdout, time.Now(), "one")
	r.complete()
	c.Rename("after")
	r.eventually("the name is known", func() bool { return r.monitor.Containers()[0].Name == "after" })
	c.say(record.Stdout, time.Now(), "two")
	r.complete()
	r.names(c, "before", "after")
	r.exact()
	r.healthy()
}

// TestRemovedWhileReading holds that a log is read to its end although the
// container is gone, its lease has ended, and the sink was slow.
func TestRemovedWhileReading(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	r.options.RotationInterval = 300 * time.Millisecond
	c := r.add(fakeengine.Config{})
	r.start()
	r.eventually("the log is open", func() bool { return c.Streams().Open == 1 })
	r.recorder.block(true)
	at := time.Now()
	for i := range 5000 {
		c.say(record.Stream(i%2), at.Add(time.Duration(i)), fmt.Sprint("line ", i))
	}
	r.eventually("the sink is blocked", func() bool { return r.recorder.blockedCalls() == 1 })
	c.Remove()
	ended := time.Now()
	r.eventually("its lease would have ended", func() bool { return time.Since(ended) > 400*time.Millisecond })
	r.recorder.block(false)
	r.complete()
	r.eventually("it is gone", func() bool { return r.stateOf(c) == "" })
	r.exact()
	r.healthy()
	if got := r.value("log_capturer_container_records_total"); got != 5000 {
		t.Errorf("%v records are counted after the removal, want 5000", got)
	}
}

// TestRemovedUnread holds that a container whose log goes before it was read
// is counted: its lines are lost, and nobody can say how many.
func TestRemovedUnread(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	r.options.MaxStreams = 1
	first := r.add(fakeengine.Config{})
	r.start()
	r.recorder.block(true)
	first.say(record.Stdout, time.Now(), "this one is read, and blocks the only lease")
	r.eventually("the sink is blocked", func() bool { return r.recorder.blockedCalls() == 1 })
	second := r.engine.Add(fakeengine.Config{})
	r.eventually("it waits", func() bool { return len(r.monitor.Containers()) == 2 })
	second.Append(fakeengine.Line(record.Stdout, time.Now(), "nobody reads this"))
	second.Remove()
	r.eventually("it is gone", func() bool { return len(r.monitor.Containers()) == 1 })
	if got := r.gaps(); got != 1 {
		t.Errorf("%v suspected gaps, want 1", got)
	}
	r.recorder.block(false)
	r.complete()
	r.exact()
}

func TestExitedWhileTheAgentWasDown(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	a, b := r.add(fakeengine.Config{}), r.add(fakeengine.Config{TTY: true})
	r.start()
	for _, c := range r.containers {
		c.say(record.Stdout, time.Now(), "one")
	}
	r.complete()
	r.stop()
	for _, c := range r.containers {
		c.say(record.Stdout, time.Now(), "two")
		at := time.Now()
		c.Append(fakeengine.Entry{Stream: record.Stdout, Time: at, Data: []byte("no end")})
		c.expect(record.Stdout, at, "no end", record.Unterminated)
		c.Exit(1)
	}
	fresh := r.add(fakeengine.Config{})
	fresh.say(record.Stderr, time.Now(), "started and exited meanwhile")
	fresh.Exit(2)
	never := r.add(fakeengine.Config{State: fakeengine.Created})
	for range 2 {
		r.start()
		r.complete()
		for _, c := range []*speaker{a, b, fresh, never} {
			r.state(c, "stopped")
		}
		r.exact()
		r.healthy()
		r.stop()
	}
}

func TestStartsAndStops(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	c := r.add(fakeengine.Config{State: fakeengine.Created})
	r.start()
	r.state(c, "stopped")
	for i := range 5 {
		c.Start()
		c.say(record.Stdout, time.Now(), fmt.Sprint("run ", i))
		c.Pause()
		c.say(record.Stderr, time.Now(), fmt.Sprint("paused ", i))
		r.complete()
		r.state(c, "reading")
		c.Unpause()
		c.say(record.Stderr, time.Now(), fmt.Sprint("last words ", i))
		c.Stop(0)
		r.complete()
		r.state(c, "stopped")
	}
	r.exact()
	r.healthy()
}

func TestFilteredContainersAreNotOpened(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	r.options.Filter = Filter{Exclude: Selection{Names: []string{"noisy*"}}}
	out := r.engine.Add(fakeengine.Config{Name: "noisy_1"})
	self := r.engine.Add(fakeengine.Config{Name: "agent", Labels: map[string]string{SelfLabel: "true"}})
	in := r.add(fakeengine.Config{Name: "wanted"})
	r.start()
	in.say(record.Stdout, time.Now(), "one")
	late := r.engine.Add(fakeengine.Config{Name: "noisy_2"})
	r.complete()
	r.eventually("they are known", func() bool { return r.value("log_capturer_containers", "state", "excluded") == 3 })
	for _, c := range []*fakeengine.Container{out, self, late} {
		if got := c.Streams().Opened; got != 0 {
			t.Errorf("%s was opened %d times", c.Name(), got)
		}
	}
	r.healthy()
}

// TestEnvironmentExcludes holds that a container whose environment says so is not
// captured: one that was there before the agent, one that comes while it runs and
// one that has stopped, however containers are read.
func TestEnvironmentExcludes(t *testing.T) {
	t.Parallel()
	f := func(transport Transport) {
		t.Run(string(transport), func(t *testing.T) {
			t.Parallel()
			r, _ := newFileRig(t)
			r.options.Transport = transport
			at := time.Now()
			line := []fakeengine.Entry{fakeengine.Line(record.Stdout, at, "not wanted")}
			ignored := []*fakeengine.Container{
				r.engine.Add(fakeengine.Config{Env: []string{"A=b", "LOGSPOUT=ignore"}, Log: line}),
				r.engine.Add(fakeengine.Config{Env: []string{"LOGSPOUT=IGNORE"}, Log: line, State: fakeengine.Exited}),
			}
			in := r.add(fakeengine.Config{Env: []string{"LOGSPOUT=other", "B=LOGSPOUT=ignore"}})
			r.start()
			in.say(record.Stdout, at, "one")
			r.complete()
			ignored = append(ignored, r.engine.Add(fakeengine.Config{Env: []string{"LOGSPOUT=ignore"}, Log: line}))
			r.eventually("they are known", func() bool { return r.value("log_capturer_containers", "state", "excluded") == 3 })
			for _, c := range ignored {
				c.Append(line...)
			}
			in.say(record.Stdout, at.Add(1), "two")
			r.complete()
			for _, c := range ignored {
				if got := r.recorder.got(0, c.ID(), record.Stdout); len(got) > 0 || c.Streams().Opened > 0 {
					t.Errorf("%s: %v was captured, in %d streams", c.Name(), got, c.Streams().Opened)
				}
			}
			for _, c := range r.monitor.Containers() {
				if want := "turned off by LOGSPOUT=ignore in its environment"; c.ID != in.ID() && c.Reason != want {
					t.Errorf("%s is %s: %q", c.Name, c.State, c.Reason)
				}
			}
			r.healthy()
		})
	}
	f(TransportFile)
	f(TransportAuto)
	f(TransportAPI)
}

// TestPositionsOfRemovedContainersAreForgotten keeps them for a while first.
func TestPositionsOfRemovedContainersAreForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	r.options.PositionRetention = time.Millisecond
	r.options.Known = func() []string { return []string{"container/gone_long_ago", "file/other"} }
	c := r.add(fakeengine.Config{})
	r.start()
	c.say(record.Stdout, time.Now(), "one")
	r.complete()
	c.Remove()
	r.eventually("it is gone", func() bool { return r.stateOf(c) == "" })
	r.eventually("both are forgotten", func() bool {
		other := r.engine.Add(fakeengine.Config{}) // wakes the owner
		r.eventually("it is found", func() bool { return other.Streams().Opened > 0 })
		r.recorder.mu.Lock()
		defer r.recorder.mu.Unlock()
		return slices.Contains(r.recorder.forgot, keyPrefix+c.ID()) && slices.Contains(r.recorder.forgot, "container/gone_long_ago")
	})
	if slices.Contains(r.recorder.forgot, "file/other") {
		t.Error("forgot the position of a file")
	}
}
