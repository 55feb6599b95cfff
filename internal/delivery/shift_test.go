package delivery_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"log_capturer/internal/delivery"
	"log_capturer/internal/delivery/deliverytest"
	"log_capturer/internal/positions"
	"log_capturer/internal/queue"
	"log_capturer/internal/record"
)

// replaceWith replaces the rig's sink.
func (r *rig) replaceWith(ctx context.Context, d *deliverytest.Destination) error {
	opts := r.opts
	opts.Sink, opts.Concurrency, opts.WindowBytes, opts.Name = d, 3, 2<<20, "a name that does not count"
	return r.Replace(ctx, opts)
}

// TestReplaceOfAFailingSink says that the new sink gets what the old one could not
// deliver, at once and in order, and that the accounts go on.
func TestReplaceOfAFailingSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(context.Context, deliverytest.Attempt) error { return errDown }, nil)
		r.start()
		reader := lines("1", "2", "3").Read()
		r.give(reader.Next(1))
		r.give(reader.Next(1))
		time.Sleep(10 * time.Minute)
		up, start := &deliverytest.Destination{}, time.Now()
		if err := r.replaceWith(t.Context(), up); err != nil {
			t.Fatal(err)
		}
		r.give(reader.Next(1))
		synctest.Wait()
		if took := time.Since(start); took > 0 {
			t.Errorf("the replacement took %v", took)
		}
		r.destination = up
		r.wantTaken("1", "2", "3")
		r.wantAccounts(delivery.Accounts{Accepted: 3, Acknowledged: 3})
		if h := r.Health(); h[0].Name != "sink/files" || h[0].Reason != "" || r.Load().Capacity != 2<<20 {
			t.Errorf("health %+v, load %+v", h, r.Load())
		}
		r.drain()
		if err := r.replaceWith(t.Context(), up); !errors.Is(err, delivery.ErrOver) {
			t.Errorf("Replace after the end = %v", err)
		}
	})
}

// TestReplaceAwaitsTheAnswer says that a request under way is answered before the
// new sink begins, and is not repeated. A Replace that is given up takes place when
// it is answered.
func TestReplaceAwaitsTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(ctx context.Context, _ deliverytest.Attempt) error {
			select {
			case <-time.After(5 * time.Second):
				return nil
			case <-ctx.Done():
				t.Error("the attempt was cut short")
				return ctx.Err()
			}
		}, nil)
		r.start()
		reader := lines("1", "2").Read()
		r.give(reader.Next(1))
		synctest.Wait()
		r.give(reader.Next(1)) // waits behind the request
		next, start := &deliverytest.Destination{}, time.Now()
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.replaceWith(impatient, &deliverytest.Destination{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Replace = %v", err)
		}
		if err := r.replaceWith(t.Context(), next); err != nil || time.Since(start) != 5*time.Second {
			t.Errorf("Replace = %v after %v", err, time.Since(start))
		}
		r.drain()
		r.wantTaken("1")
		r.destination = next
		r.wantTaken("2")
	})
}

// TestReplaceAwaitsTheJournal says that no new sink gets what the old one has
// delivered and the journal does not know of yet.
func TestReplaceAwaitsTheJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, nil)
		log := lines("1")
		var full atomic.Bool
		full.Store(true)
		if err := r.StartAt(log.Source.Key, record.Cursor{}); err != nil {
			t.Fatal(err)
		}
		r.journal.Before(func([]positions.Change) error {
			if full.Load() {
				return errors.New("no space left on device")
			}
			return nil
		})
		r.start()
		r.give(log.Read().Next(1))
		synctest.Wait()
		time.AfterFunc(time.Hour, func() { full.Store(false) })
		next, start := &deliverytest.Destination{}, time.Now()
		if err := r.replaceWith(t.Context(), next); err != nil || time.Since(start) < time.Hour {
			t.Errorf("Replace = %v after %v", err, time.Since(start))
		}
		r.drain()
		r.wantTaken("1")
		if taken := next.TakenLines(); len(taken) > 0 {
			t.Errorf("the new sink got %q again", taken)
		}
	})
}

// TestClosedInput says that those who wait to bring records to a sink that is
// removed are sent away, and that its cursor stays before what was kept out.
func TestClosedInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, func(o *delivery.Options) { o.WindowBytes = 500; o.Linger = time.Hour })
		r.start()
		log := lines("1", "2")
		reader := log.Read()
		r.give(reader.Next(1))
		waiting := make(chan error, 1)
		second := reader.Next(1)
		go func() { waiting <- r.Enqueue(t.Context(), second) }()
		synctest.Wait()
		r.drain()
		if err := <-waiting; !errors.Is(err, queue.ErrClosed) {
			t.Errorf("Enqueue = %v", err)
		}
		if err := r.Pass(log.Source.Key, second.To); err != nil {
			t.Error(err)
		}
		second.Release()
		if c := r.cursor(log); c.Streams[record.Stdout].Seq != 1 {
			t.Errorf("the cursor is %+v", c)
		}
	})
}
