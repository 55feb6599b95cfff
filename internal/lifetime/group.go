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
// No wait is for ever. A function that was told to end and does not is overdue
// after a while: it is reported with its stack and counted, and those who wait
// for it go on (Watch).
//
// Every goroutine carries the name of its component as a label of the
// runtime's goroutine profile, so that they can be counted by component from
// outside. Making a blocked function return is left to that function: it
// selects on its context, or has what it reads from closed.
package lifetime

import (
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"
)

// ComponentLabel is the key of the goroutine profile's label that names the
// component that a goroutine works for.
const ComponentLabel = "component"

const (
	// patience is how long a group of the outermost lifetime waits for its
	// functions after it was cancelled. They have been told to end: what they
	// may still do is write and sync a file on a slow disk.
	patience = 30 * time.Second
	// patienceStep is by how much a group waits shorter than the one around it,
	// so that of a chain of those that wait for each other the innermost is
	// reported, and the others go on in time.
	patienceStep = 5 * time.Second
)

// ErrOverdue is the error of a Wait that gave up on functions that did not end.
var ErrOverdue = errors.New("goroutine is overdue")

// Group is a set of goroutines that end together. Its methods may be called
// from several goroutines at once.
type Group struct {
	ctx      context.Context
	cancel   context.CancelFunc
	patience time.Duration
	watch    *Watch
	running  Tally

	mu    sync.Mutex
	tasks map[*Task]struct{}
	err   error
}

// Task is a function that a group runs.
type Task struct {
	component string
	watch     *Watch
	goroutine atomic.Uint64 // its id, 0 before it runs
	overdue   atomic.Bool
}

// depthKey is the context's key for the number of groups around.
type depthKey struct{}

// NewGroup returns an empty group. The context of its functions ends when ctx
// does, when one of them returns an error, and when Cancel is called.
func NewGroup(ctx context.Context) *Group {
	depth, _ := ctx.Value(depthKey{}).(int)
	g := &Group{
		patience: max(patience-time.Duration(depth)*patienceStep, patienceStep),
		watch:    watchOf(ctx),
		tasks:    map[*Task]struct{}{},
	}
	g.ctx, g.cancel = context.WithCancel(context.WithValue(ctx, depthKey{}, depth+1))
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
func (g *Group) Go(component string, f func(ctx context.Context) error) *Task {
	t := &Task{component: component, watch: g.watch}
	g.mu.Lock()
	g.tasks[t] = struct{}{}
	g.running.Add()
	g.mu.Unlock()
	go func() {
		defer func() {
			// Nobody may go on before a panic has ended the process.
			if cause := recover(); cause != nil {
				panic(cause)
			}
			g.ended(t)
		}()
		t.goroutine.Store(goroutineID())
		Label(g.ctx, component, func(ctx context.Context) {
			if err := f(ctx); err != nil {
				g.fail(err)
			}
		})
	}()
	return t
}

func (g *Group) ended(t *Task) {
	g.mu.Lock()
	delete(g.tasks, t)
	g.mu.Unlock()
	if t.overdue.Load() {
		g.watch.ended(t)
	}
	g.running.Done()
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
//
// Functions that have not returned 30 seconds after the group was cancelled (5
// less for each group around it) are given up as overdue: Wait reports them and
// returns an error that is ErrOverdue.
func (g *Group) Wait() error {
	select {
	case <-g.running.Idle():
	case <-g.ctx.Done():
		if !g.running.Wait(g.patience) {
			return g.giveUp()
		}
	}
	g.cancel()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// giveUp reports what still runs.
func (g *Group) giveUp() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	err := g.err
	for t := range g.tasks {
		t.Overdue("its group was told to end", g.patience)
		err = errors.Join(err, fmt.Errorf("%s: %w for %v", t.component, ErrOverdue, g.patience))
	}
	return err
}

// Label calls f under the label of component, in the calling goroutine. It is
// for work that runs on a goroutine which somebody else started, such as an
// HTTP handler.
func Label(ctx context.Context, component string, f func(ctx context.Context)) {
	pprof.Do(ctx, pprof.Labels(ComponentLabel, component), f)
}
