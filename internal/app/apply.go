package app

import (
	"context"
	"fmt"
	"slices"
	"time"

	"log_capturer/internal/config"
	"log_capturer/internal/delivery"
	"log_capturer/internal/lifetime"
)

// change is the way from the parts that run to those that are to.
type change struct {
	diff     config.Difference
	from, to *parts
	// fresh are sinks that do not run yet, replaced have a delivery that goes on
	// with another target, gone end.
	fresh, replaced, gone []*sink
	// monitors are those that end and begin anew.
	monitors []monitorKind
	// anew says that all sources begin anew, since a sink comes back that they have
	// passed: what it missed is read again.
	anew bool
}

// apply makes next the configuration that runs, and returns the keys of the parts
// that were changed. Everything that can fail is done before anything is put in
// place: an error says that nothing was changed. When ctx is done meanwhile, what is
// waited for is not waited for any longer, and the change is made nonetheless.
func (a *app) apply(ctx context.Context, next *config.Config) ([]string, error) {
	c := &change{diff: config.Diff(a.now().config, next), from: a.now()}
	if err := c.diff.Err(); err != nil {
		return nil, err
	}
	if len(c.diff.Parts) == 0 {
		return nil, nil
	}
	if err := a.prepare(c, next); err != nil {
		c.discard()
		return nil, fmt.Errorf("%w; nothing was changed", err)
	}
	a.put(ctx, c)
	return c.diff.Parts, nil
}

// prepare makes what the change needs, and touches nothing of what runs.
func (a *app) prepare(c *change, next *config.Config) error {
	p := *c.from
	c.to, p.config, p.sinks = &p, next, nil
	for _, sc := range next.Sinks {
		s := p.takeOver(c.from.sink(sc.Name), sc)
		switch {
		case s == nil:
			var err error
			if s, err = a.makeSink(next, sc); err != nil {
				return fmt.Errorf("make sink %q: %w", sc.Name, err)
			}
			c.fresh = append(c.fresh, s)
		case c.diff.Has(config.SinkPart(sc.Name)):
			target, err := a.makeTarget(next, sc)
			if err != nil {
				return fmt.Errorf("make sink %q: %w", sc.Name, err)
			}
			s.target = target
			c.replaced = append(c.replaced, s)
		}
		p.sinks = append(p.sinks, s)
	}
	for _, s := range c.from.sinks {
		if in := p.sink(s.config.Name); in == nil || in.delivery != s.delivery {
			c.gone = append(c.gone, s)
		}
	}
	c.anew = slices.ContainsFunc(c.fresh, a.hasCursors) || slices.ContainsFunc(c.gone, func(s *sink) bool { return p.sink(s.config.Name) != nil })
	if c.diff.Has("pipelines") || !slices.EqualFunc(c.from.sinks, p.sinks, func(a, b *sink) bool { return a.config.Name == b.config.Name }) {
		p.pipelines = c.from.pipelines.Successor()
		var err error
		if p.table, err = next.CompilePipelines(p.pipelines); err != nil {
			return err
		}
	}
	for _, m := range monitors {
		if !c.anew && !c.diff.Has(m.key) {
			continue
		}
		c.monitors = append(c.monitors, m)
		if err := m.make(a, &p, time.Now()); err != nil {
			return err
		}
	}
	return nil
}

// takeOver returns the sink that takes over the delivery of an earlier one, and nil
// where there is none or it can't: a delivery can't be given a spool while it runs.
func (p *parts) takeOver(before *sink, c config.Sink) *sink {
	if before == nil || before.spool == nil && c.Spool.MaxBytes > 0 {
		return nil
	}
	s := *before
	s.config = c
	return &s
}

// hasCursors reports whether a sink was there before, and knows sources.
func (a *app) hasCursors(s *sink) bool {
	for range a.journal.All(delivery.CursorPrefix + s.config.Name + "/") {
		return true
	}
	return false
}

// discard lets go of what was made for a change that is not made.
func (c *change) discard() {
	for _, s := range c.fresh {
		s.close()
	}
	for _, s := range c.replaced {
		s.release()
	}
	if c.to.engine != c.from.engine {
		_ = c.to.engine.Close() // it has no connections yet
	}
}

// put puts the change in place. The order is that of custody: sinks that are new run
// before anything comes to them, those that go get nothing more before they end, and
// sources begin anew when all sinks are in place.
func (a *app) put(ctx context.Context, c *change) {
	p := c.to
	for _, s := range c.fresh {
		if !c.follows(s) {
			a.startSink(s)
		}
	}
	a.replace(ctx, c)
	a.door.LimitSources(rate(p.config.Dispatcher.SourceRateLimit))
	if !c.anew {
		a.dispatcher.Use(p.deliveries(), p.table)
	} else {
		// Those that come back must not get what comes next before what they missed.
		a.dispatcher.Use(c.staying(), p.table)
	}
	retiring := lifetime.NewGroup(context.WithoutCancel(ctx))
	for _, s := range c.gone {
		retiring.Go("reload", func(context.Context) error { s.retire(ctx, p.shutdownTimeout()); return nil })
	}
	_ = retiring.Wait() // it has no errors
	for _, m := range c.monitors {
		a.stopMonitor(m)
	}
	if c.anew {
		a.running.flushing.stop()
		for _, s := range c.fresh {
			if c.follows(s) {
				a.startSink(s)
			}
		}
		a.dispatcher.Use(p.deliveries(), p.table)
		a.dispatcher.BeginAnew()
		a.running.flushing = start(a.running.sources, "dispatcher", a.dispatcher.Run)
	}
	a.replayer.Use(p.targets())
	a.parts.Store(p)
	for _, m := range c.monitors {
		a.startMonitor(m, p)
	}
	for _, s := range c.gone {
		s.close()
	}
	if c.from.engine != nil && c.from.engine != p.engine {
		_ = c.from.engine.Close() // only idle connections are left
	}
}

// follows reports whether a sink that is new has the name of one that ends first.
func (c *change) follows(s *sink) bool {
	return slices.ContainsFunc(c.gone, func(g *sink) bool { return g.config.Name == s.config.Name })
}

// staying returns the deliveries that were there and stay.
func (c *change) staying() []*delivery.Delivery {
	var list []*delivery.Delivery
	for _, s := range c.to.sinks {
		if !slices.Contains(c.fresh, s) {
			list = append(list, s.delivery)
		}
	}
	return list
}

// replace gives the deliveries that go on what is new of them. Each waits for the
// requests of its old sink, so they do it side by side.
func (a *app) replace(ctx context.Context, c *change) {
	for _, s := range c.to.sinks {
		s.delivery.ResizeWindow(int64(c.to.config.WindowBytes()))
	}
	replacing := lifetime.NewGroup(context.WithoutCancel(ctx))
	for _, s := range c.replaced {
		replacing.Go("reload", func(context.Context) error {
			spool := s.config.Spool
			s.delivery.ChangeSpool(int64(spool.MaxBytes), spool.MaxBytes == 0, spool.WhenFull == "drop_oldest")
			before := c.from.sink(s.config.Name)
			if err := s.delivery.Replace(ctx, a.deliveryOptions(c.to.config, s)); err != nil {
				// The agent stops: the old one may be in use until its delivery ends.
				s.release = func(first, second func()) func() { return func() { first(); second() } }(before.release, s.release)
				return nil
			}
			before.release()
			return nil
		})
	}
	_ = replacing.Wait() // it has no errors
}
