package delivery_test

import (
	"context"
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"log_capturer/internal/delivery"
	"log_capturer/internal/health"
	"log_capturer/internal/positions"
	"log_capturer/internal/spool"
	"log_capturer/internal/vfs/vfstest"
)

// While the disk fails, records go through memory as far as it has room, and wait
// then; when it is well again all are there. Health says what is the matter.
func TestSpoolDiskFails(t *testing.T) {
	for _, fault := range []vfstest.Fault{
		{Op: vfstest.Write, Err: syscall.ENOSPC, Short: 7},
		{Op: vfstest.Sync, Err: syscall.EIO},
		{Op: vfstest.SyncDir, Err: syscall.EIO},
		{Op: vfstest.Open, Err: syscall.EMFILE},
	} {
		t.Run(string(fault.Op), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSpooling(t, 20000, spool.Options{MaxBytes: 1 << 20, SegmentBytes: 2000}, delivery.SpoolOptions{})
				s.start()
				s.down.Store(true)
				s.disk.Inject(fault)
				log := logs(1, 2000)[0]
				given := make(chan struct{})
				go func() {
					defer close(given)
					s.giveAll(log)
				}()
				time.Sleep(time.Minute)
				if c := component(s, "spool/files"); c.Status != health.Unhealthy || c.Reason == "" {
					t.Errorf("health %+v", c)
				}
				s.disk.Heal()
				<-given
				if a := s.Accounts(); a.Spooled == 0 {
					t.Errorf("nothing is in the spool: %+v", a)
				}
				s.down.Store(false)
				s.settle()
				s.wantAll(log)
				if c := component(s, "spool/files"); c.Status != health.Healthy {
					t.Errorf("health %+v", c)
				}
				s.drain()
				s.wantNoSpool()
			})
		})
	}
}

// Damaged records are counted, the others delivered, and health says where the
// damaged segment is kept.
func TestDamagedSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpooling(t, 20000, spool.Options{MaxBytes: 1 << 20, SegmentBytes: 2000}, delivery.SpoolOptions{})
		s.start()
		s.down.Store(true)
		log := logs(1, 3000)[0]
		s.giveAll(log)
		s.stop()
		if err := s.spool.Close(); err != nil {
			t.Fatal(err)
		}
		file := s.disk.Files(spoolDir)[5]
		data, _ := s.disk.ReadFile(file)
		data[len(data)/2] ^= 8
		s.disk.WriteFile(file, data)
		s.Delivery = delivery.New(s.rig.opts)
		s.open()
		s.down.Store(false)
		s.start()
		s.settle()
		a := s.Accounts()
		if a.Dropped == 0 || a.Dropped > 100 || a.Acknowledged+a.Dropped != 3000 {
			t.Errorf("accounts %+v", a)
		}
		if n := len(s.destination.TakenLines()); uint64(n) != 3000-a.Dropped {
			t.Errorf("%d lines taken", n)
		}
		time.Sleep(time.Second)
		if c := component(s, "spool/files"); c.Status != health.Degraded || len(s.disk.Files(spoolDir)) != 1 {
			t.Errorf("health %+v, files %q", c, s.disk.Files(spoolDir))
		}
		s.drain()
	})
}

// A source that will not come again is forgotten when the spool is rid of it.
func TestForgetWithSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpooling(t, 20000, spool.Options{MaxBytes: 1 << 20}, delivery.SpoolOptions{})
		s.start()
		s.down.Store(true)
		log := logs(1, 1000)[0]
		s.giveAll(log)
		if err := s.Forget(log.Source.Key); err != nil {
			t.Fatal(err)
		}
		s.again(true)
		if err := s.Forget(log.Source.Key); err != nil {
			t.Fatal(err)
		}
		s.down.Store(false)
		s.settle()
		s.wantAll(log)
		time.Sleep(time.Second)
		for _, key := range s.journal.Keys() {
			if key != delivery.SpoolPrefix+"files" {
				t.Errorf("the journal still has %q", key)
			}
		}
		s.drain()
	})
}

// A call that is given up while the journal fails is settled by the next one:
// its batch comes again, and is delivered once.
func TestGivenUpWhileJournalFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpooling(t, 4000, spool.Options{MaxBytes: 1 << 20}, delivery.SpoolOptions{})
		s.start()
		s.down.Store(true)
		log := logs(1, 300)[0]
		s.giveAll(log)
		r := log.Fill(20).Read(s.cursor(log))
		failing := errors.New("the journal's disk fails")
		var bad atomic.Bool
		bad.Store(true)
		s.journal.Before(func([]positions.Change) error {
			if bad.Load() {
				return failing
			}
			return nil
		})
		b := r.Next(10)
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		err := s.Enqueue(ctx, b)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Enqueue = %v", err)
		}
		bad.Store(false)
		s.give(b) // again
		s.give(r.Next(10))
		s.down.Store(false)
		s.settle()
		s.wantAll(log)
		s.drain()
	})
}
