package limit

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What waits passes at its rate, after a first second's worth.
func TestWait(t *testing.T) {
	f := func(name string, rate Rate, batches, records, size int, want time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			b := NewBucket(rate)
			start := time.Now()
			for range batches {
				if err := b.Wait(context.Background(), records, size); err != nil {
					t.Fatal(err)
				}
			}
			if took := time.Since(start).Round(10 * time.Millisecond); took != want {
				t.Errorf("%s: took %v, want %v", name, took, want)
			}
		})
	}
	f("no limit", Rate{}, 100, 1000, 1000, 0)
	// 1000 at once; then each 100 wait until the debt of those before is paid.
	f("records", Rate{Records: 1000}, 100, 100, 1, 8900*time.Millisecond)
	f("bytes", Rate{Bytes: 1000}, 100, 1, 100, 8900*time.Millisecond)
	f("the slower of both", Rate{Records: 1e6, Bytes: 1000}, 20, 1, 1000, 18*time.Second)
	f("one batch larger than a second", Rate{Records: 10}, 2, 100, 1, 9100*time.Millisecond)
}

func TestWaitIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBucket(Rate{Records: 1})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := b.Wait(ctx, 100, 1); err != nil {
			t.Error(err)
		}
		if err := b.Wait(ctx, 1, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait = %v", err)
		}
	})
}

// Over ten seconds, as many are admitted as the rate says, and a first second's
// worth.
func TestAdmit(t *testing.T) {
	f := func(rate Rate, size, want int) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			b := NewBucket(rate)
			admitted := 0
			for range 10000 {
				if b.Admit(size) {
					admitted++
				}
				time.Sleep(time.Millisecond)
			}
			if admitted < want-1 || admitted > want+1 {
				t.Errorf("%+v: %d admitted, want %d", rate, admitted, want)
			}
		})
	}
	f(Rate{Records: 100}, 1, 1100)
	f(Rate{Bytes: 1000}, 10, 1100)
	f(Rate{Bytes: 10}, 100, 1+1) // larger than a second's worth
	f(Rate{}, 1, 10000)
}
