// Package dispatcher takes the batches of all sources to all sinks.
//
// It is the one door between the monitors, which make batches, and the
// deliveries, which each bring them to one destination. A batch is shared, not
// copied: each delivery holds it as long as it needs it. The dispatcher also
// answers where a source has to be read from, which is where the sink that is
// furthest behind stands; the others skip what they have.
package dispatcher

import (
	"context"
	"errors"
	"sync/atomic"

	"log_capturer/internal/delivery"
	"log_capturer/internal/lifetime"
	"log_capturer/internal/queue"
	"log_capturer/internal/record"
)

// Dispatcher hands batches to deliveries. Its methods may be called from
// several goroutines at once, Accept from one goroutine for each source.
type Dispatcher struct {
	sinks  atomic.Pointer[[]*delivery.Delivery]
	limits atomic.Pointer[limits] // nil without a limit
}

// New returns a dispatcher to the given sinks.
func New(sinks []*delivery.Delivery) *Dispatcher {
	d := &Dispatcher{}
	d.Use(sinks)
	return d
}

// Use has batches go to the given sinks from now on. One that was not among them
// before begins in each source where that stands. It must not have been there
// earlier on, with positions that the sources have passed: their reading begins
// anew then. Of one that is not among them any more the input is closed after
// this.
func (d *Dispatcher) Use(sinks []*delivery.Delivery) { d.sinks.Store(&sinks) }

// Accept takes over the caller's hold of b and gives the batch to every sink.
// It blocks while the window of one of them is full; the others have the batch
// as soon as they have room. When ctx is done first, the sinks that have it keep
// it, and skip it when it comes again: the caller reads on from before the
// batch.
func (d *Dispatcher) Accept(ctx context.Context, b *record.Batch) error {
	passed, err := d.limited(ctx, b)
	if passed == nil || err != nil {
		return err
	}
	defer passed.Release()
	return d.accept(ctx, *d.sinks.Load(), func(int) *record.Batch { return passed })
}

// limited takes over the caller's hold of b and returns the part of it that its
// source may bring, held once; nil for nothing.
func (d *Dispatcher) limited(ctx context.Context, b *record.Batch) (*record.Batch, error) {
	limits := d.limits.Load()
	if limits == nil {
		return b, nil
	}
	passed, err := limits.pass(ctx, b)
	if passed == nil || err != nil {
		b.Release()
		return nil, err
	}
	return passed, nil
}

// accept gives each sink its batch, which may be nil. A sink that was removed
// meanwhile takes nothing more.
func (d *Dispatcher) accept(ctx context.Context, sinks []*delivery.Delivery, batchOf func(place int) *record.Batch) error {
	type blocked struct {
		*delivery.Delivery
		batch *record.Batch
	}
	var full []blocked
	for place, sink := range sinks {
		b := batchOf(place)
		if b == nil {
			continue
		}
		if err := begin(sinks, sink, b); err != nil {
			return err
		}
		ok, err := sink.TryEnqueue(b)
		if err = unlessClosed(err); err != nil {
			return err
		}
		if !ok {
			full = append(full, blocked{sink, b})
		}
	}
	switch len(full) {
	case 0:
		return nil
	case 1:
		return unlessClosed(full[0].Enqueue(ctx, full[0].batch))
	}
	// Each is waited for on its own, since the first may be full for hours when
	// the second has room in a moment.
	waiting := lifetime.NewGroup(ctx)
	for _, sink := range full {
		waiting.Go("dispatcher", func(ctx context.Context) error { return unlessClosed(sink.Enqueue(ctx, sink.batch)) })
	}
	if err := waiting.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// begin sets a sink that is new to a source to where that stands, before it gets its
// first batch: after a kill it would else be taken for one that wants what the others
// have next.
func begin(sinks []*delivery.Delivery, sink *delivery.Delivery, b *record.Batch) error {
	_, known, err := sink.Cursor(b.Source.Key)
	if known || err != nil {
		return err
	}
	if err := sink.StartAt(b.Source.Key, b.From); err != nil {
		return err
	}
	for _, other := range sinks {
		if err := other.DurableFirst(b.Source.Key); err != nil {
			return err
		}
	}
	return nil
}

// unlessClosed returns an error other than that of a sink that was removed.
func unlessClosed(err error) error {
	if errors.Is(err, queue.ErrClosed) {
		return nil
	}
	return err
}

// Resume returns the cursors at which the sinks stand, one for each sink that
// knows the source, if only as one that it has nothing of yet. A sink that is
// new to the source is first set to the position of the one that is furthest
// behind, or to start where no sink knows the source; the result is empty where
// start is zero as well.
func (d *Dispatcher) Resume(source string, start record.Cursor) ([]record.Cursor, error) {
	var known []record.Cursor
	var fresh []*delivery.Delivery
	oldest := start
	for _, sink := range *d.sinks.Load() {
		c, ok, err := sink.Cursor(source)
		if err != nil {
			return nil, err
		}
		if !ok {
			fresh = append(fresh, sink)
			continue
		}
		if len(known) == 0 || c.Total() < oldest.Total() {
			oldest = c
		}
		known = append(known, c)
	}
	for _, sink := range fresh {
		if err := sink.StartAt(source, oldest); err != nil {
			return nil, err
		}
	}
	if len(fresh) > 0 {
		for _, sink := range *d.sinks.Load() {
			if err := sink.DurableFirst(source); err != nil {
				return nil, err
			}
		}
	}
	if len(known) == 0 && !start.IsZero() {
		known = append(known, start)
	}
	return known, nil
}

// Forget removes the positions of a source that will not come again.
func (d *Dispatcher) Forget(source string) error {
	if limits := d.limits.Load(); limits != nil {
		limits.forget(source)
	}
	for _, sink := range *d.sinks.Load() {
		if err := sink.Forget(source); err != nil {
			return err
		}
	}
	return nil
}
