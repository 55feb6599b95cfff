package queue

import (
	"context"
	"slices"
	"sync"
)

// budget is the room of a window, in bytes. It is given in the order in which it
// was asked for, so that what is large gets its turn, and its capacity may change
// while some of it is taken.
type budget struct {
	closed <-chan struct{} // ends all waiting

	mu             sync.Mutex
	capacity, used int64
	waiting        []*waiter
}

// waiter waits for room.
type waiter struct {
	size int64
	// weight is what was given to it, when granted is closed.
	weight  int64
	granted chan struct{}
}

// take gives room for size bytes, if there is any, and returns how much. What is
// larger than the whole budget gets all of it. The caller holds b.mu.
func (b *budget) take(size int64) (weight int64, ok bool) {
	weight = min(size, b.capacity)
	if b.used+weight > b.capacity {
		return 0, false
	}
	b.used += weight
	return weight, true
}

// tryAcquire takes room if there is some, and nobody waits for it.
func (b *budget) tryAcquire(size int64) (weight int64, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) > 0 {
		return 0, false
	}
	return b.take(size)
}

// acquire waits for room, until ctx is done or the window is closed.
func (b *budget) acquire(ctx context.Context, size int64) (weight int64, err error) {
	b.mu.Lock()
	if len(b.waiting) == 0 {
		if weight, ok := b.take(size); ok {
			b.mu.Unlock()
			return weight, nil
		}
	}
	w := &waiter{size: size, granted: make(chan struct{})}
	b.waiting = append(b.waiting, w)
	b.mu.Unlock()
	select {
	case <-w.granted:
		return w.weight, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-b.closed:
		err = ErrClosed
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.waiting, w); i >= 0 {
		b.waiting = slices.Delete(b.waiting, i, i+1)
	} else {
		b.used -= w.weight // it came too late
	}
	b.grant()
	return 0, err
}

// release gives room back.
func (b *budget) release(weight int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= weight
	b.grant()
}

// resize changes the capacity. What was taken stays so.
func (b *budget) resize(capacity int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.capacity = capacity
	b.grant()
}

// grant gives room to those who wait longest. The caller holds b.mu.
func (b *budget) grant() {
	n := 0
	for ; n < len(b.waiting); n++ {
		w := b.waiting[n]
		var ok bool
		if w.weight, ok = b.take(w.size); !ok {
			break
		}
		close(w.granted)
	}
	b.waiting = slices.Delete(b.waiting, 0, n)
}
