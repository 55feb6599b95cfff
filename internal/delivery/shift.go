package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"log_capturer/internal/lifetime"
	"log_capturer/internal/limit"
	"log_capturer/internal/queue"
)

// shift is a time in which a delivery's settings, and its sink, stay the same.
type shift struct {
	opts Options
	// bucket is nil for a sink without a limit.
	bucket *limit.Bucket
}

func newShift(opts Options) *shift {
	s := &shift{opts: opts}
	if !opts.Limit.IsZero() {
		s.bucket = limit.NewBucket(opts.Limit)
	}
	return s
}

// shifts is how one shift is made to follow another.
type shifts struct {
	mu sync.Mutex
	// end ends the present shift, nil before it has begun. next is what follows,
	// and taken is closed when it has taken over.
	end   context.CancelFunc
	next  *shift
	taken chan struct{}
	// over is closed when Run has returned.
	over chan struct{}
}

// ErrOver is the error of a Replace that comes when the delivery has ended.
var ErrOver = errors.New("the delivery has ended")

// Replace has the sink, and all settings but the name, the journal, the dead
// letters and the logger, replaced by those of opts. What was accepted stays
// accepted: the requests that are under way are answered first, and what is not
// delivered then is delivered by the new sink, in order. Meanwhile batches are
// accepted as before. The spool stays (see ChangeSpool).
//
// It returns nil when the old sink is not used any more. When ctx is done first,
// the sink is replaced nonetheless as soon as its requests are answered. It is
// called from one goroutine at a time, while Run runs.
func (d *Delivery) Replace(ctx context.Context, opts Options) error {
	opts.Name, opts.Journal, opts.DeadLetters, opts.Logger = d.opts.Name, d.opts.Journal, d.opts.DeadLetters, d.opts.Logger
	taken := make(chan struct{})
	s := &d.shifts
	s.mu.Lock()
	s.next, s.taken = newShift(opts), taken
	if s.end != nil {
		s.end()
	}
	s.mu.Unlock()
	select {
	case <-taken:
		return nil
	case <-s.over:
		return ErrOver
	case <-ctx.Done():
		return fmt.Errorf("replace sink %q: its requests are not answered yet, which it waits for: %w", d.opts.Name, ctx.Err())
	}
}

// ResizeWindow changes the memory of undelivered batches, of which more may be in
// use for a while.
func (d *Delivery) ResizeWindow(bytes int64) {
	d.window.SetCapacity(bytes)
	d.stats.setWindow(bytes)
}

// begin says how the shift that begins is ended.
func (s *shifts) begin(end context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end = end
	if s.next != nil {
		end()
	}
}

// takeOver returns the shift that is to follow, nil when there is none.
func (s *shifts) takeOver() (next *shift, taken chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end = nil
	next, taken = s.next, s.taken
	s.next, s.taken = nil, nil
	return next, taken
}

// work makes shift follow shift, until one ends of itself.
func (d *Delivery) work(ctx context.Context) error {
	for {
		if err := d.workShift(ctx, d.shift.Load()); err != nil || ctx.Err() != nil {
			return err
		}
		next, taken := d.shifts.takeOver()
		if next == nil {
			return nil
		}
		d.window.Resize(next.opts.WindowBytes, next.opts.Concurrency)
		d.stats.begin(next.opts.WindowBytes, next.opts.Concurrency)
		d.shift.Store(next)
		close(taken)
	}
}

// workShift delivers until the shift is ended, the input is closed and everything
// is delivered, or ctx is done.
func (d *Delivery) workShift(ctx context.Context, s *shift) error {
	if b, ok := s.opts.Sink.(Beginner); ok {
		defer b.Begin()()
	}
	sinkGroup := lifetime.NewGroup(ctx)
	if starter, ok := s.opts.Sink.(Starter); ok {
		sinkGroup.Go("sink", starter.Run)
	}
	workers := lifetime.NewGroup(sinkGroup.Context())
	onShift, end := context.WithCancel(workers.Context())
	defer end()
	for i := range s.opts.Concurrency {
		w := &worker{Delivery: d, opts: s.opts, bucket: s.bucket, shard: i, onShift: onShift}
		workers.Go("delivery", w.run)
	}
	d.shifts.begin(end)
	err := workers.Wait()
	sinkGroup.Cancel()
	if sinkErr := sinkGroup.Wait(); sinkErr != nil && !errors.Is(sinkErr, context.Canceled) {
		err = fmt.Errorf("run sink %q: %w", d.opts.Name, sinkErr)
	}
	return err
}

// putBack puts back what a worker has collected and not delivered, for the next
// shift, and returns the items that are done with: those that are delivered.
func (w *worker) putBack(items []queue.Item) (done []queue.Item) {
	var left []queue.Item
	w.mu.Lock()
	for _, it := range items {
		wanted := 1 // of a source that was forgotten nothing is known
		if c := w.cursors[it.Batch.Source.Key]; c != nil {
			has := c.committed
			if c.split {
				has = c.delivered
			}
			var rest queue.Item
			rest, wanted = trim(it.Batch, it.Start, has)
			it.Start = rest.Start
		}
		if wanted > 0 {
			left = append(left, it)
		} else {
			done = append(done, it)
		}
	}
	w.mu.Unlock()
	w.window.PutBack(w.shard, left)
	return done
}
