package app

import (
	"context"
	"errors"
	"time"

	"log_capturer/internal/lifetime"
)

// groups are the lifetimes of what a reload may end and begin.
type groups struct {
	sinks, sources *lifetime.Group
	// flushing and monitors are what runs in sources: the flushing of what pipelines
	// hold, and the monitors by their keys.
	flushing *running
	monitors map[string]*running
}

// running is a function that runs in a group, and that can be ended before it.
type running struct {
	end   context.CancelFunc
	ended chan struct{}
}

// start runs a function in a group.
func start(g *lifetime.Group, component string, run func(context.Context) error) *running {
	ctx, end := context.WithCancel(g.Context())
	r := &running{end: end, ended: make(chan struct{})}
	g.Go(component, func(context.Context) error {
		defer close(r.ended)
		defer end()
		err := run(ctx)
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return nil // it did as it was told
		}
		return err
	})
	return r
}

// stop ends it, and returns when it has ended.
func (r *running) stop() {
	r.end()
	<-r.ended
}

// startSink runs a sink's delivery.
func (a *app) startSink(s *sink) { s.running = start(a.running.sinks, "delivery", s.delivery.Run) }

// retire lets a sink that was removed deliver what it has accepted, for a bounded
// time. It takes no more.
func (s *sink) retire(ctx context.Context, patience time.Duration) {
	s.delivery.CloseInput()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-s.running.ended:
	case <-timer.C:
	case <-ctx.Done():
	}
	s.running.stop()
	if n := s.delivery.Accounts().InMemory; n > 0 {
		s.logger.Warn("sink_removed", "undelivered", n, "hint", "a sink of this name that is configured later gets them, as long as they can be read")
	}
}

// startSources runs all that brings records to the sinks.
func (a *app) startSources(p *parts) {
	a.running.flushing = start(a.running.sources, "dispatcher", a.dispatcher.Run)
	a.running.monitors = map[string]*running{}
	for _, m := range monitors {
		a.startMonitor(m, p)
	}
}

func (a *app) startMonitor(m monitorKind, p *parts) {
	if run := m.run(p); run != nil {
		a.running.monitors[m.key] = start(a.running.sources, m.key, run)
	}
}

// stopMonitor ends a monitor, if there is one.
func (a *app) stopMonitor(m monitorKind) {
	if r := a.running.monitors[m.key]; r != nil {
		r.stop()
		delete(a.running.monitors, m.key)
	}
}
