package container

import (
	"testing"
	"time"

	"log_capturer/internal/record"
	"log_capturer/internal/testkit/fakeengine"
)

// TestEventsHeardLate tells of a container's run after it was read, and after the
// engine had said that it is gone; and what the engine had said of it before that.
func TestEventsHeardLate(t *testing.T) {
	t.Parallel()
	r := newRig(t, fakeengine.Options{})
	c := r.add(fakeengine.Config{})
	r.start()
	c.say(record.Stdout, time.Now(), "all that it wrote")
	c.Exit(0)
	r.complete()
	r.state(c, "stopped")
	id, asked := c.ID(), time.Now()
	info, err := r.monitor.opts.Engine.Inspect(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	c.Remove()
	r.eventually("it is gone", func() bool { return r.stateOf(c) == "" })
	for _, what := range []any{answer{id, info, nil, asked}, snapshot{asked: asked, infos: []Info{info}}} {
		r.tell(what)
		if list := r.monitor.Containers(); len(list) != 0 {
			t.Errorf("what the engine had said before brings it back: %+v", list)
		}
	}
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

// readToItsEnd has a container write a line, stop, and be read, and the engine say
// that it has stopped. It returns when the engine was asked for that.
func (r *rig) readToItsEnd(c *speaker) (asked time.Time) {
	r.t.Helper()
	r.opened(c)
	c.say(record.Stdout, time.Now(), "all that it wrote")
	c.Exit(0)
	r.complete()
	r.state(c, "stopped")
	asked = time.Now()
	info, err := r.monitor.opts.Engine.Inspect(r.t.Context(), c.ID())
	if err != nil {
		r.t.Fatal(err)
	}
	r.tell(answer{c.ID(), info, nil, asked})
	return asked
}

// tell tells the monitor something, and returns when it has taken it in.
func (r *rig) tell(what any) {
	r.t.Helper()
	for range 2 {
		if !r.monitor.tell(r.t.Context(), what) {
			r.t.Fatal("the monitor does not listen")
		}
		what = nil
	}
}

// TestStartHeardLate tells of a start after the engine had said, when it was asked,
// that the container has stopped; and of one that came after that.
func TestStartHeardLate(t *testing.T) {
	t.Parallel()
	r, _ := newFileRig(t)
	r.start()
	r.eventually("listed", r.monitor.Ready)
	c := r.add(fakeengine.Config{})
	asked := r.readToItsEnd(c)
	runs := func() int64 {
		r.monitor.mu.Lock()
		defer r.monitor.mu.Unlock()
		return r.monitor.table[c.ID()].runs
	}
	before := runs()
	r.tell(Event{ID: c.ID(), Name: "late", Kind: EventStart, Time: asked.Add(-time.Millisecond)})
	if n := runs(); n != before {
		t.Errorf("%d runs after a start that was heard late, want %d", n, before)
	}
	// One between the question and the answer is looked into.
	inspections := r.engine.Requests()[fakeengine.Inspect]
	r.tell(Event{ID: c.ID(), Name: "late", Kind: EventStart, Time: asked})
	if n := runs(); n != before {
		t.Errorf("%d runs after a start while the engine was asked, want %d", n, before)
	}
	r.eventually("the engine is asked again", func() bool { return r.engine.Requests()[fakeengine.Inspect] > inspections })
	r.tell(Event{ID: c.ID(), Name: "late", Kind: EventStart, Time: time.Now()})
	if n := runs(); n != before+1 {
		t.Errorf("%d runs after the start of another one, want %d", n, before+1)
	}
	r.tell(Event{ID: c.ID(), Name: "late", Kind: EventDie, Time: time.Now()})
	r.state(c, "stopped")
	r.exact()
	r.healthy()
}

// TestRemovedAfterALateStart is about a container whose start is heard when it was
// read and has stopped, right before it is removed with its log.
func TestRemovedAfterALateStart(t *testing.T) {
	t.Parallel()
	r, _ := newFileRig(t)
	r.start()
	r.eventually("listed", r.monitor.Ready)
	c := r.add(fakeengine.Config{})
	asked, id := r.readToItsEnd(c), c.ID()
	r.engine.LoseEvents(true)
	c.Remove()
	for _, kind := range []EventKind{EventStart, EventDie, EventDestroy} {
		r.tell(Event{ID: id, Name: "late", Kind: kind, Time: asked.Add(-time.Millisecond)})
	}
	r.left()
	if n := r.gaps(); n != 0 {
		t.Errorf("%v suspected gaps", n)
	}
	r.exact()
}

// TestAnswerHeardLate is about what the engine said of a running container when an
// event has told since that it has stopped.
func TestAnswerHeardLate(t *testing.T) {
	t.Parallel()
	r, _ := newFileRig(t)
	r.start()
	r.eventually("listed", r.monitor.Ready)
	c := r.add(fakeengine.Config{})
	r.opened(c)
	asked := time.Now()
	info, err := r.monitor.opts.Engine.Inspect(t.Context(), c.ID())
	if err != nil || !info.Running {
		t.Fatal(info, err)
	}
	c.say(record.Stdout, time.Now(), "all that it wrote")
	r.complete()
	c.Exit(0)
	r.state(c, "stopped")
	// It may be looked into once more, and has stopped then still.
	r.tell(answer{c.ID(), info, nil, asked})
	r.state(c, "stopped")
	r.exact()
	r.healthy()
}
