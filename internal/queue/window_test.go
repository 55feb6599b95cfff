package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"log_capturer/internal/queue"
	"log_capturer/internal/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noLimits collects whatever there is.
var noLimits = queue.Limits{Bytes: 1 << 30, Records: 1 << 30}

// batch returns a batch of a source whose only line has the given length. Its
// record's Time is n.
func batch(source *record.Source, n, length int) *record.Batch {
	b := record.NewBatch(source, length)
	b.Append(record.Record{Time: int64(n)}, make([]byte, length))
	return b
}

func push(t testing.TB, w *queue.Window, b *record.Batch) {
	t.Helper()
	it := queue.Item{Batch: b}
	if !w.TryReserve(&it) {
		t.Fatal("the window is full")
	}
	if err := w.Append(it); err != nil {
		t.Fatal(err)
	}
}

// empty fails the test unless the window has all of its room.
func empty(t testing.TB, w *queue.Window, capacity int) {
	t.Helper()
	it := queue.Item{Batch: batch(&record.Source{}, 0, capacity)}
	if !w.TryReserve(&it) {
		t.Fatal("the window has not got back all of its room")
	}
}

// TestOrderAndBudget says that with many sources and several shards each source
// stays in order, nothing gets lost, and the window never holds more than it
// may.
func TestOrderAndBudget(t *testing.T) {
	const (
		shards, sources, batches = 4, 20, 300
		capacity                 = 20_000
	)
	w := queue.NewWindow(capacity, shards)
	ctx := t.Context()
	var held, highest atomic.Int64
	var producers, consumers sync.WaitGroup
	for s := range sources {
		producers.Go(func() {
			source := &record.Source{Key: fmt.Sprint("container/", s)}
			for n := range batches {
				b := batch(source, n, 1+rand.IntN(3000))
				it := queue.Item{Batch: b}
				if err := w.Reserve(ctx, &it); err != nil {
					t.Error(err)
					return
				}
				now := held.Add(int64(b.Memory()))
				for old := highest.Load(); now > old && !highest.CompareAndSwap(old, now); old = highest.Load() {
				}
				if err := w.Append(it); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var mu sync.Mutex
	next, shardOf := map[string]int64{}, map[string]int{}
	for shard := range shards {
		consumers.Go(func() {
			var items []queue.Item
			for {
				var err error
				items, err = w.Collect(ctx, shard, items[:0], queue.Limits{Bytes: 5000, Records: 10})
				if errors.Is(err, queue.ErrClosed) {
					return
				}
				mu.Lock()
				for _, it := range items {
					key := it.Batch.Source.Key
					if got := it.Batch.Records[0].Time; got != next[key] {
						t.Errorf("%s: batch %d comes when %d is due", key, got, next[key])
					}
					if first, ok := shardOf[key]; ok && first != shard {
						t.Errorf("%s comes in shards %d and %d", key, first, shard)
					}
					next[key]++
					shardOf[key] = shard
					held.Add(-int64(it.Batch.Memory()))
				}
				mu.Unlock()
				w.Done(items)
			}
		})
	}
	producers.Wait()
	w.Close()
	consumers.Wait()
	if len(next) != sources {
		t.Errorf("%d sources came, want %d", len(next), sources)
	}
	for key, n := range next {
		if n != batches {
			t.Errorf("%s: %d batches came, want %d", key, n, batches)
		}
	}
	if got := highest.Load(); got > capacity {
		t.Errorf("the window held %d bytes of %d", got, capacity)
	}
	empty(t, w, capacity)
}

func TestOversizedBatchPassesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &record.Source{Key: "a"}
		w := queue.NewWindow(10_000, 1)
		push(t, w, batch(source, 0, 100))
		reserved := make(chan error, 1)
		huge := queue.Item{Batch: batch(source, 1, 1_000_000)}
		go func() { reserved <- w.Reserve(t.Context(), &huge) }()
		synctest.Wait()
		select {
		case err := <-reserved:
			t.Fatalf("a batch larger than the window got room beside another one: %v", err)
		default:
		}
		items, _ := w.Collect(t.Context(), 0, nil, noLimits)
		w.Done(items)
		if err := <-reserved; err != nil {
			t.Fatal(err)
		}
		small := queue.Item{Batch: batch(source, 2, 1)}
		if w.TryReserve(&small) {
			t.Error("another batch got room beside one that is larger than the window")
		}
		if err := w.Append(huge); err != nil {
			t.Fatal(err)
		}
		items, err := w.Collect(t.Context(), 0, nil, queue.Limits{Bytes: 10, Records: 10})
		if err != nil || len(items) != 1 {
			t.Fatalf("collected %d items, %v", len(items), err)
		}
		w.Done(items)
		empty(t, w, 10_000)
	})
}

func TestLimits(t *testing.T) {
	f := func(lim queue.Limits, lengths []int, want int) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			w := queue.NewWindow(1<<20, 1)
			for n, length := range lengths {
				push(t, w, batch(&record.Source{Key: "a"}, n, length))
			}
			items, err := w.Collect(t.Context(), 0, nil, lim)
			if err != nil || len(items) != want {
				t.Errorf("%+v of %v: collected %d items, %v, want %d", lim, lengths, len(items), err, want)
			}
		})
	}
	f(noLimits, []int{1, 2, 3}, 3)
	f(queue.Limits{Bytes: 1 << 20, Records: 2}, []int{1, 2, 3}, 2)
	f(queue.Limits{Bytes: 10, Records: 100}, []int{5, 5, 5}, 2)
	f(queue.Limits{Bytes: 10, Records: 100}, []int{4, 5, 5}, 3) // the one that reaches it is in
	f(queue.Limits{Bytes: 10, Records: 100}, []int{500, 1}, 1)
}

// TestLinger says that the oldest item waits for company no longer than Linger,
// and not at all when the collection is large enough.
func TestLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := queue.NewWindow(1<<20, 1)
		source := &record.Source{Key: "a"}
		lim := queue.Limits{Bytes: 1000, Records: 3, Linger: time.Second}
		collect := func(wantItems int, wantTime time.Duration) {
			t.Helper()
			start := time.Now()
			items, err := w.Collect(t.Context(), 0, nil, lim)
			if took := time.Since(start); err != nil || len(items) != wantItems || took != wantTime {
				t.Errorf("collected %d items after %v, %v, want %d after %v", len(items), took, err, wantItems, wantTime)
			}
			w.Done(items)
		}
		later := func(after time.Duration, batches ...*record.Batch) {
			time.AfterFunc(after, func() {
				for _, b := range batches {
					push(t, w, b)
				}
			})
		}

		push(t, w, batch(source, 0, 1))
		later(900*time.Millisecond, batch(source, 1, 1))
		collect(2, time.Second)

		push(t, w, batch(source, 0, 1))
		time.Sleep(400 * time.Millisecond) // it lingers since it was pushed
		collect(1, 600*time.Millisecond)

		push(t, w, batch(source, 0, 1))
		later(300*time.Millisecond, batch(source, 1, 1), batch(source, 2, 1))
		collect(3, 300*time.Millisecond)

		push(t, w, batch(source, 0, 1))
		later(200*time.Millisecond, batch(source, 1, 1000))
		collect(2, 200*time.Millisecond)

		// What has gathered has waited for so long already. It waits for the rest of
		// its sweep at least, and never longer than all else.
		gathered := func(n int) *record.Batch {
			b := batch(source, n, 1)
			b.Gathered = 110 * time.Millisecond
			return b
		}
		push(t, w, gathered(0))
		later(880*time.Millisecond, gathered(1))
		collect(2, 890*time.Millisecond)
		lim.Linger = 40 * time.Millisecond
		push(t, w, gathered(0))
		later(9*time.Millisecond, gathered(1))
		later(11*time.Millisecond, gathered(2))
		collect(2, 10*time.Millisecond)
		collect(1, 11*time.Millisecond)
		lim.Linger = time.Millisecond
		push(t, w, gathered(0))
		collect(1, time.Millisecond)
	})
}

func TestCloseDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := queue.NewWindow(1<<20, 1)
		source := &record.Source{Key: "a"}
		for n := range 3 {
			push(t, w, batch(source, n, 1))
		}
		time.AfterFunc(time.Second, w.Close)
		start := time.Now()
		lim := queue.Limits{Bytes: 1 << 20, Records: 100, Linger: time.Hour}
		items, err := w.Collect(t.Context(), 0, nil, lim)
		if err != nil || len(items) != 3 || time.Since(start) != time.Second {
			t.Fatalf("collected %d items after %v, %v, want 3 at the close", len(items), time.Since(start), err)
		}
		w.Done(items)
		if _, err := w.Collect(t.Context(), 0, nil, lim); !errors.Is(err, queue.ErrClosed) {
			t.Errorf("Collect of a closed and empty window = %v, want ErrClosed", err)
		}
		it := queue.Item{Batch: batch(source, 3, 1)}
		if err := w.Reserve(t.Context(), &it); err != nil {
			t.Fatal(err)
		}
		if err := w.Append(it); !errors.Is(err, queue.ErrClosed) {
			t.Errorf("Append to a closed window = %v, want ErrClosed", err)
		}
		it.Batch.Release() // the hold stayed the caller's
		w.Close()
		empty(t, w, 1<<20)
	})
}

// TestCloseLosesNothing closes the window in the moment of the last push.
func TestCloseLosesNothing(t *testing.T) {
	source := &record.Source{Key: "a"}
	for range 20_000 {
		w := queue.NewWindow(1<<20, 1)
		var pusher sync.WaitGroup
		pusher.Go(func() {
			push(t, w, batch(source, 0, 1))
			w.Close()
		})
		items, err := w.Collect(t.Context(), 0, nil, queue.Limits{Bytes: 10, Records: 10, Linger: time.Hour})
		pusher.Wait()
		if len(items) != 1 || err != nil {
			t.Fatalf("collected %d items, %v, want the one that was pushed before the close", len(items), err)
		}
		w.Done(items)
	}
}

func TestCollectEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := queue.NewWindow(1<<20, 1)
		push(t, w, batch(&record.Source{Key: "a"}, 0, 1))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		items, err := w.Collect(ctx, 0, nil, queue.Limits{Bytes: 10, Records: 10, Linger: time.Hour})
		if len(items) != 1 || !errors.Is(err, context.Canceled) {
			t.Errorf("Collect = %d items, %v, want the one that lingered and context.Canceled", len(items), err)
		}
		w.Done(items)
		empty(t, w, 1<<20)
	})
}

// TestBlockedReserveEndsWithContext says that giving up a Reserve costs no room,
// and lets those behind it pass.
func TestBlockedReserveEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const capacity = 10_000
		w := queue.NewWindow(capacity, 1)
		source := &record.Source{Key: "a"}
		push(t, w, batch(source, 0, 3000))
		ctx, cancel := context.WithCancel(t.Context())
		first, second := make(chan error, 1), make(chan error, 1)
		large, small := queue.Item{Batch: batch(source, 1, capacity)}, queue.Item{Batch: batch(source, 2, 1)}
		go func() { first <- w.Reserve(ctx, &large) }()
		synctest.Wait()
		go func() { second <- w.Reserve(t.Context(), &small) }()
		synctest.Wait()
		if len(second) > 0 {
			t.Error("a Reserve overtook an earlier one")
		}
		cancel()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("Reserve = %v, want context.Canceled", err)
		}
		if err := <-second; err != nil {
			t.Error(err)
		}
		if err := w.Append(small); err != nil {
			t.Fatal(err)
		}
		items, _ := w.Collect(t.Context(), 0, nil, noLimits)
		if len(items) != 2 {
			t.Errorf("collected %d items, want 2", len(items))
		}
		w.Done(items)
		empty(t, w, capacity)
	})
}

// cycle is the way of a batch through a window.
func cycle(b *record.Batch, w *queue.Window, items []queue.Item) []queue.Item {
	b.Retain(1)
	it := queue.Item{Batch: b}
	if !w.TryReserve(&it) || w.Append(it) != nil {
		panic("the window is full")
	}
	items, _ = w.Collect(context.Background(), 0, items[:0], noLimits)
	w.Done(items)
	return items
}

func TestWindowDoesNotAllocate(t *testing.T) {
	w := queue.NewWindow(1<<20, 1)
	b := batch(&record.Source{Key: "container/a"}, 0, 100)
	var items []queue.Item
	if n := testing.AllocsPerRun(1000, func() { items = cycle(b, w, items) }); n != 0 {
		t.Errorf("%v allocations per batch, want 0", n)
	}
}

func BenchmarkWindow(b *testing.B) {
	w := queue.NewWindow(1<<20, 1)
	one := batch(&record.Source{Key: "container/a"}, 0, 100)
	var items []queue.Item
	b.ReportAllocs()
	for b.Loop() {
		items = cycle(one, w, items)
	}
}
