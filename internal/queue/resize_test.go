package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"log_capturer/internal/queue"
	"log_capturer/internal/record"
)

// TestResize says that nothing gets lost, comes twice or out of its order when the
// window changes its shards and its size again and again, and what was collected
// is put back.
func TestResize(t *testing.T) {
	const sources, batches = 8, 400
	capacity := int64(20_000)
	w := queue.NewWindow(capacity, 2)
	var producers sync.WaitGroup
	for s := range sources {
		producers.Go(func() {
			source := &record.Source{Key: fmt.Sprint("container/", s)}
			for n := range batches {
				it := queue.Item{Batch: batch(source, n, 1+rand.IntN(3000))}
				if err := w.Reserve(t.Context(), &it); err != nil {
					t.Error(err)
					return
				}
				if err := w.Append(it); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { producers.Wait(); w.Close(); close(done) }()

	var mu sync.Mutex
	next, left := map[string]int64{}, sources*batches
	consume := func(ctx context.Context, shard int) {
		rng := rand.New(rand.NewPCG(1, uint64(shard)))
		var items []queue.Item
		for {
			var err error
			items, err = w.Collect(ctx, shard, items[:0], queue.Limits{Bytes: 5000, Records: 10})
			if errors.Is(err, queue.ErrClosed) {
				return
			}
			n := rng.IntN(len(items) + 1) // so many are delivered
			if err == nil && ctx.Err() == nil {
				n = len(items)
			}
			mu.Lock()
			for _, it := range items[:n] {
				key := it.Batch.Source.Key
				if got := it.Batch.Records[0].Time; got != next[key] {
					t.Errorf("%s: batch %d comes when %d is due", key, got, next[key])
				}
				next[key]++
				left--
			}
			mu.Unlock()
			w.PutBack(shard, items[n:])
			w.Done(items[:n])
			if ctx.Err() != nil {
				return
			}
		}
	}
	rounds := 0
	for shards := 2; left > 0; rounds++ {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		var consumers sync.WaitGroup
		for shard := range shards {
			consumers.Go(func() { consume(ctx, shard) })
		}
		consumers.Wait()
		cancel()
		shards, capacity = 1+rand.IntN(4), int64(4000+rand.IntN(30_000))
		w.Resize(capacity, shards)
	}
	<-done
	for key, n := range next {
		if n != batches {
			t.Errorf("%s: %d batches came, want %d", key, n, batches)
		}
	}
	empty(t, w, int(capacity))
	t.Logf("resized %d times", rounds)
}

// TestResizeLetsWaitersIn says that those who wait get in when the window grows,
// and that one that was too large for it gets in when it shrinks and is empty.
func TestResizeLetsWaitersIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &record.Source{Key: "a"}
		w := queue.NewWindow(10_000, 1)
		push(t, w, batch(source, 0, 8000))
		reserve := func(length int) chan error {
			reserved := make(chan error, 1)
			go func() {
				it := queue.Item{Batch: batch(source, 1, length)}
				reserved <- errors.Join(w.Reserve(t.Context(), &it), w.Append(it))
			}()
			synctest.Wait()
			return reserved
		}
		grown := reserve(5000)
		if len(grown) > 0 {
			t.Fatal("there was room already")
		}
		w.Resize(30_000, 1)
		if err := <-grown; err != nil {
			t.Fatal(err)
		}
		large := reserve(25_000)
		w.Resize(5000, 1)
		items, _ := w.Collect(t.Context(), 0, nil, noLimits)
		w.Done(items)
		if err := <-large; err != nil {
			t.Fatal(err)
		}
		items, _ = w.Collect(t.Context(), 0, nil, noLimits)
		w.Done(items)
		empty(t, w, 5000)
	})
}

// TestCloseEndsReserve says that nobody waits for room in a closed window.
func TestCloseEndsReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &record.Source{Key: "a"}
		w := queue.NewWindow(10_000, 1)
		push(t, w, batch(source, 0, 10_000))
		time.AfterFunc(time.Second, w.Close)
		it := queue.Item{Batch: batch(source, 1, 1)}
		if err := w.Reserve(t.Context(), &it); !errors.Is(err, queue.ErrClosed) {
			t.Errorf("Reserve = %v, want ErrClosed", err)
		}
		items, _ := w.Collect(t.Context(), 0, nil, noLimits)
		w.Done(items)
		empty(t, w, 10_000)
	})
}
