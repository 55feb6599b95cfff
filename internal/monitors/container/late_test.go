package container

import (
	"testing"
	"time"

	"log_capturer/internal/record"
	"log_capturer/internal/testkit/fakeengine"
)

// TestEventsHeardLate tells of a container's run after it was read, and after the
// engine had said that it is gone.
func TestEventsHeardLate(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	c := r.add(fakeengine.Config{})
	r.start()
	c.say(record.Stdout, time.Now(), "all that it wrote")
	c.Exit(0)
	r.complete()
	r.state(c, "stopped")
	id := c.ID()
	c.Remove()
	r.eventually("it is gone", func() bool { return r.stateOf(c) == "" })
	for _, kind := range []EventKind{EventCreate, EventStart, EventDie, EventDestroy} {
		r.monitor.learn(Event{ID: id, Name: "late", Kind: kind})
		if list := r.monitor.Containers(); len(list) != 0 {
			t.Errorf("event %v brings it back: %+v", kind, list)
		}
	}
	if n := r.gaps(); n != 0 {
		t.Errorf("%v suspected gaps", n)
	}
	r.exact()
	r.healthy()
}
