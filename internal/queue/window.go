// Package queue holds what a sink has accepted and not yet delivered.
//
// A Window keeps it in memory, bounded in bytes. Custody of what is in a window
// stays with the source: nothing of it is written to disk, and a crash loses
// only memory that is read again from the source's cursor.
//
// A window is sharded. All batches of one source go to one shard, in order, and
// each shard has one consumer, so order holds with several requests in flight.
package queue

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"log_capturer/internal/record"
)

// ErrClosed is returned by Collect when the window is closed and empty, and by
// Append when it is closed.
var ErrClosed = errors.New("queue: closed")

// Item is a batch in the queue.
type Item struct {
	// Batch is held by the item until Done.
	Batch *record.Batch
	// Start is the index of the first record of each stream that is wanted.
	// It is not zero where a sink has the beginning of the batch already.
	Start [record.NumStreams]int

	pushed time.Time
	weight int64
}

// Limits say when a collection is large or old enough to be delivered.
type Limits struct {
	// Bytes and Records end a collection that reaches them.
	Bytes, Records int
	// Linger is how long the oldest item may wait for company. How long it has
	// gathered where it was read counts, but for the time of the sweep in which it
	// was: the others of it are about to come.
	Linger time.Duration
}

// sweepTime is how long it takes to read the logs of a sweep.
const sweepTime = 10 * time.Millisecond

// linger returns how long an item may wait.
func (l *Limits) linger(it *Item) time.Duration {
	if it.Batch.Gathered == 0 {
		return l.Linger
	}
	return min(l.Linger, max(sweepTime, l.Linger-it.Batch.Gathered))
}

// Window is a bounded queue in memory. Its methods may be called from several
// goroutines at once, Collect from one goroutine a shard.
type Window struct {
	capacity int64
	budget   *semaphore.Weighted
	seed     maphash.Seed
	shards   []shard

	closing sync.Once
	closed  chan struct{}
}

type shard struct {
	mu    sync.Mutex
	items []Item
	// ready has room for one token, which says that items changed.
	ready chan struct{}
}

// NewWindow returns a window of capacity bytes in the given number of shards.
func NewWindow(capacity int64, shards int) *Window {
	w := &Window{
		capacity: capacity,
		budget:   semaphore.NewWeighted(capacity),
		seed:     maphash.MakeSeed(),
		shards:   make([]shard, shards),
		closed:   make(chan struct{}),
	}
	for i := range w.shards {
		w.shards[i].ready = make(chan struct{}, 1)
	}
	return w
}

// Reserve makes room for it. While the window is full it blocks, in the order
// of the calls, until ctx is done. A batch larger than the whole window gets
// room when the window is empty.
func (w *Window) Reserve(ctx context.Context, it *Item) error {
	it.weight = w.weigh(it.Batch)
	return w.budget.Acquire(ctx, it.weight)
}

// TryReserve is Reserve that answers false instead of blocking.
func (w *Window) TryReserve(it *Item) bool {
	it.weight = w.weigh(it.Batch)
	return w.budget.TryAcquire(it.weight)
}

func (w *Window) weigh(b *record.Batch) int64 { return min(int64(b.Memory()), w.capacity) }

// Append puts an item that has room at the end of its source's shard. The
// item's hold of its batch is the caller's to make. On error, which is
// ErrClosed, the hold stays the caller's and the room is given back.
func (w *Window) Append(it Item) error {
	s := &w.shards[maphash.String(w.seed, it.Batch.Source.Key)%uint64(len(w.shards))]
	it.pushed = time.Now()
	s.mu.Lock()
	select {
	case <-w.closed:
		s.mu.Unlock()
		w.budget.Release(it.weight)
		return ErrClosed
	default:
	}
	s.items = append(s.items, it)
	s.mu.Unlock()
	s.signal()
	return nil
}

func (s *shard) signal() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// Close ends the appending. What is in the window can still be collected, and no
// longer lingers.
func (w *Window) Close() {
	w.closing.Do(func() { close(w.closed) })
}

// Closed returns a channel that is closed when the window is.
func (w *Window) Closed() <-chan struct{} { return w.closed }

// Collect waits for the shard's next items, and then for more until one of the
// limits is reached. It appends what it took to into. After Close it returns
// what is left, and then ErrClosed.
func (w *Window) Collect(ctx context.Context, index int, into []Item, lim Limits) ([]Item, error) {
	s := &w.shards[index]
	var (
		bytes, records int
		deadline       *time.Timer
		expired        <-chan time.Time
	)
	for {
		s.mu.Lock()
		taken := 0
		for taken < len(s.items) && (taken == 0 && len(into) == 0 || bytes < lim.Bytes && records < lim.Records) {
			b := s.items[taken].Batch
			bytes += b.LineBytes()
			records += len(b.Records)
			into = append(into, s.items[taken])
			taken++
		}
		if taken > 0 {
			n := copy(s.items, s.items[taken:])
			clear(s.items[n:])
			s.items = s.items[:n]
		}
		left := len(s.items)
		s.mu.Unlock()

		if left > 0 || bytes >= lim.Bytes || records >= lim.Records {
			return into, nil
		}
		if len(into) > 0 && deadline == nil {
			wait := lim.linger(&into[0]) - time.Since(into[0].pushed)
			if wait <= 0 {
				return into, nil
			}
			deadline = time.NewTimer(wait)
			defer deadline.Stop()
			expired = deadline.C
		}
		select {
		case <-ctx.Done():
			return into, ctx.Err()
		case <-w.closed:
			if !s.empty() {
				continue
			}
			if len(into) == 0 {
				return into, ErrClosed
			}
			return into, nil
		case <-expired:
			return into, nil
		case <-s.ready:
		}
	}
}

func (s *shard) empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.items) == 0
}

// Done gives the room of collected items back and ends their holds.
func (w *Window) Done(items []Item) {
	for i := range items {
		items[i].Batch.Release()
		w.budget.Release(items[i].weight)
		items[i] = Item{}
	}
}
