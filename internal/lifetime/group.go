// Package lifetime starts the agent's goroutines and waits for them.
//
// It owns the one place where the product starts a goroutine, Group.Go, and
// promises that whoever calls Wait gets all of them back: a group ends when
// every function that was started in it has returned, whatever made it end.
// Lifetimes nest: a function that runs in one group makes a group of its own
// from the context that it was given, and waits for it before it returns. One
// group never holds two lifetimes, or waiting for the shorter one would wait
// for the longer one too.
//
// Every goroutine carries the name of its component as a label of the
// runtime's goroutine profile, so that they can be counted by component from
// outside. Making a blocked function return is left to that function: it
// selects on its context, or has what it reads from closed.
package lifetime

import (
	"context"
	"errors"
	"runtime/pprof"
	"sync"
)

// ComponentLabel is the key of the goroutine profile's label that names the
// component that a goroutine works for.
const ComponentLabel = "component"

// Group is a set of goroutines that end together. Its methods may be called
// from several goroutines at once.
type Group struct {
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu  sync.Mutex
	err error
}

// NewGroup returns an empty group. The context of its functions ends when ctx
// does, when one of them returns an error, and when Cancel is called.
func NewGroup(ctx context.Context) *Group {
	g := &Group{}
	g.ctx, g.cancel = context.WithCancel(ctx)
	return g
}

// Context returns the context that the group's functions get, without the label
// of a component.
func (g *Group) Context() context.Context { return g.ctx }

// Go starts f in a goroutine under the label of component, which is a constant
// name of the program's design: "delivery", "container_monitor". Goroutines
// that f starts in turn, through libraries for example, inherit the label.
//
// The first f to return an error cancels the context of all. An f that returns
// nil ends alone. An f that panics ends the process.
//
// Go must not be called after Wait has returned. To call it while Wait waits is
// safe from a function that the group still runs.
func (g *Group) Go(component string, f func(ctx context.Context) error) {
	g.running.Go(func() {
		Label(g.ctx, component, func(ctx context.Context) {
			if err := f(ctx); err != nil {
				g.fail(err)
			}
		})
	})
}

// fail cancels the group and keeps the first error. A function that returns the
// context's own error after the context ended did as it was told: that is no
// error of the group.
func (g *Group) fail(err error) {
	if g.ctx.Err() != nil && errors.Is(err, g.ctx.Err()) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		g.err = err
	}
	g.cancel()
}

// Cancel ends the context of the group's functions. It does not wait for them.
func (g *Group) Cancel() { g.cancel() }

// Wait returns when every function of the group has returned, with the first
// error that one of them returned. It returns nil when they ended because the
// group was cancelled. The group's context is done afterwards.
func (g *Group) Wait() error {
	g.running.Wait()
	g.cancel()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// Label calls f under the label of component, in the calling goroutine. It is
// for work that runs on a goroutine which somebody else started, such as an
// HTTP handler.
func Label(ctx context.Context, component string, f func(ctx context.Context)) {
	pprof.Do(ctx, pprof.Labels(ComponentLabel, component), f)
}
