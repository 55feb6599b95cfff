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
	"slices"
	"sync"
	"time"

	"log_capturer/internal/record"
)

// ErrClosed is returned by Collect when the window is closed and empty, and by
// Reserve and Append when it is closed.
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
	budget budget
	seed   maphash.Seed

	// mu guards the list of the shards, which Resize replaces.
	mu     sync.RWMutex
	shards []*shard

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
	w := &Window{seed: maphash.MakeSeed(), closed: make(chan struct{}), shards: newShards(shards)}
	w.budget = budget{capacity: capacity, closed: w.closed}
	return w
}

func newShards(n int) []*shard {
	shards := make([]*shard, n)
	for i := range shards {
		shards[i] = &shard{ready: make(chan struct{}, 1)}
	}
	return shards
}

// SetCapacity changes the capacity. What is in the window stays there.
func (w *Window) SetCapacity(bytes int64) { w.budget.resize(bytes) }

// Resize changes the capacity and the number of shards. What is in the window
// stays there, in order. Nobody may be in Collect.
func (w *Window) Resize(capacity int64, shards int) {
	w.budget.resize(capacity)
	w.mu.Lock()
	defer w.mu.Unlock()
	if shards == len(w.shards) {
		return
	}
	old := w.shards
	w.shards = newShards(shards)
	for _, from := range old {
		for _, it := range from.items {
			to := w.shardOf(it.Batch)
			to.items = append(to.items, it)
			to.signal()
		}
	}
}

// shardOf returns the shard of a batch's source. The caller holds w.mu.
func (w *Window) shardOf(b *record.Batch) *shard {
	return w.shards[maphash.String(w.seed, b.Source.Key)%uint64(len(w.shards))]
}

// Reserve makes room for it. While the window is full it blocks, in the order
// of the calls, until ctx is done or the window is closed. A batch larger than the
// whole window gets room when the window is empty.
func (w *Window) Reserve(ctx context.Context, it *Item) (err error) {
	it.weight, err = w.budget.acquire(ctx, int64(it.Batch.Memory()))
	return err
}

// TryReserve is Reserve that answers false instead of blocking.
func (w *Window) TryReserve(it *Item) (ok bool) {
	it.weight, ok = w.budget.tryAcquire(int64(it.Batch.Memory()))
	return ok
}

// Append puts an item that has room at the end of its source's shard. The
// item's hold of its batch is the caller's to make. On error, which is
// ErrClosed, the hold stays the caller's and the room is given back.
func (w *Window) Append(it Item) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	s := w.shardOf(it.Batch)
	it.pushed = time.Now()
	s.mu.Lock()
	select {
	case <-w.closed:
		s.mu.Unlock()
		w.budget.release(it.weight)
		return ErrClosed
	default:
	}
	s.items = append(s.items, it)
	s.mu.Unlock()
	s.signal()
	return nil
}

// PutBack puts items that were collected from a shard, in their order, before
// all others of it. They keep their room and their holds.
func (w *Window) PutBack(index int, items []Item) {
	if len(items) == 0 {
		return
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	s := w.shards[index]
	s.mu.Lock()
	s.items = slices.Concat(items, s.items)
	s.mu.Unlock()
	s.signal()
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
	w.mu.RLock()
	s := w.shards[index]
	w.mu.RUnlock()
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
		w.budget.release(items[i].weight)
		items[i] = Item{}
	}
}
