package container

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"log_capturer/internal/record"
	"log_capturer/internal/testkit/fakeengine"
)

// opened waits until the file of a container is open, known or not.
func (r *rig) opened(c *speaker) {
	r.t.Helper()
	r.eventually("the file of "+c.Name()+" is open", func() bool {
		r.monitor.mu.Lock()
		defer r.monitor.mu.Unlock()
		e := r.monitor.held[c.ID()]
		if e == nil {
			e = r.monitor.table[c.ID()]
		}
		return e != nil && e.file != nil && e.file.found.Load()
	})
}

// left waits until no file is open and nothing is known of any container.
func (r *rig) left() {
	r.t.Helper()
	r.eventually("no container is left", func() bool {
		r.monitor.mu.Lock()
		defer r.monitor.mu.Unlock()
		return len(r.monitor.table)+len(r.monitor.held)+r.monitor.files.Len() == 0
	})
}

// TestShortLived has containers that are gone, with their files, when it becomes
// known what they were: in events that come late, or by asking.
func TestShortLived(t *testing.T) {
	f := func(name string, prepare func(*rig), c fakeengine.Config, late func(*rig, *speaker), delivered bool, gaps float64) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _ := newFileRig(t)
			r.options.ReconcileInterval = 100 * time.Millisecond
			r.options.holdFor = 300 * time.Millisecond
			r.options.Filter.Exclude.Labels = []string{"skip"}
			prepare(r)
			r.start()
			r.eventually("listed", r.monitor.Ready)
			s := r.add(c)
			at := time.Now()
			if c.Labels == nil {
				r.opened(s)
			} else {
				r.state(s, "excluded")
			}
			s.say(record.Stdout, at, "a", "b")
			s.Append(fakeengine.Entry{Stream: record.Stderr, Time: at, Data: []byte("no end")})
			s.expect(record.Stderr, at, "no end", record.Unterminated)
			late(r, s)
			if !delivered {
				s.said = [record.NumStreams][]line{}
			}
			r.complete()
			r.left()
			r.exact()
			r.unopened()
			if got := r.gaps(); got != gaps {
				t.Errorf("%v suspected gaps, want %v", got, gaps)
			}
		})
	}
	remove := func(_ *rig, s *speaker) { s.Remove() }
	quiet := func(r *rig) { r.engine.LoseEvents(true) }
	f("events tell", func(*rig) {}, fakeengine.Config{}, remove, true, 0)
	f("events tell of one that was made before", func(*rig) {}, fakeengine.Config{}, func(_ *rig, s *speaker) {
		s.Exit(0)
		s.Remove()
	}, true, 0)
	f("events tell while the engine does not answer", func(r *rig) { r.engine.Delay(fakeengine.Inspect, time.Second) },
		fakeengine.Config{}, remove, true, 0)
	f("the engine tells when it is asked", quiet, fakeengine.Config{}, func(r *rig, s *speaker) {
		r.eventually("it is known", func() bool { return r.stateOf(s) != "" })
		s.Remove()
	}, true, 0)
	f("nobody tells", func(r *rig) {
		quiet(r)
		// Long enough for the file to be seen open on a machine that is busy.
		r.options.holdFor = 3 * time.Second
		r.engine.Delay(fakeengine.Inspect, 5*time.Second)
		r.options.ReconcileInterval = time.Hour
	}, fakeengine.Config{}, remove, false, 1)
	skip := fakeengine.Config{Labels: map[string]string{"skip": ""}}
	f("events tell that it is excluded", func(*rig) {}, skip, remove, false, 0)
	f("the engine tells that it is excluded", quiet, skip, func(r *rig, s *speaker) {
		r.state(s, "excluded")
		s.Remove()
	}, false, 0)
}

// TestCreatedFirst reads a container whose file is there only for a moment long
// after the container was made.
func TestCreatedFirst(t *testing.T) {
	t.Parallel()
	r, _ := newFileRig(t)
	early := r.add(fakeengine.Config{State: fakeengine.Created})
	r.start()
	late := r.add(fakeengine.Config{State: fakeengine.Created})
	never := r.add(fakeengine.Config{State: fakeengine.Created})
	other := r.add(fakeengine.Config{State: fakeengine.Created, LogDriver: "local"})
	for _, c := range r.containers {
		r.state(c, "stopped")
	}
	for _, c := range []*speaker{early, late} {
		c.Start()
		r.opened(c)
		c.say(record.Stdout, time.Now(), "short")
		c.Remove()
	}
	never.Remove()
	other.Start()
	other.say(record.Stdout, time.Now(), "over the API")
	r.transport(other, TransportAPI)
	r.complete()
	r.eventually("the others are gone", func() bool { return len(r.monitor.Containers()) == 1 })
	r.healthy()
}

// TestIdleFilesCostNoGoroutines has many containers that write nothing.
func TestIdleFilesCostNoGoroutines(t *testing.T) {
	r, _ := newFileRig(t)
	r.options.MaxStreams = 1
	const containers = 500
	for range containers {
		r.add(fakeengine.Config{})
	}
	before := runtime.NumGoroutine()
	r.start()
	r.eventually("all are read", func() bool { return r.value("log_capturer_containers_read", "transport", "file") == containers })
	for i, c := range r.containers {
		c.say(record.Stdout, time.Now(), fmt.Sprint("line ", i))
	}
	r.complete()
	// The scripted engine's own are counted with them.
	if n := runtime.NumGoroutine() - before; n > 30 {
		t.Errorf("%d goroutines more, want at most 30", n)
	}
	r.healthy()
	r.unopened()
}
