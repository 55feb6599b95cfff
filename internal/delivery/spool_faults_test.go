package delivery_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"log_capturer/internal/delivery"
	"log_capturer/internal/health"
	"log_capturer/internal/positions"
	"log_capturer/internal/record"
	"log_capturer/internal/spool"
	"log_capturer/internal/vfs"
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

// What is delivered out of memory while the journal is made durable is not durable
// with it. A loss of power takes it back, and then the source's cursor must not be
// behind it, although the spool has what came next.
func TestDeliveredWhileJournalIsSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpooling(t, 4000, spool.Options{MaxBytes: 1 << 20}, delivery.SpoolOptions{})
		if err := vfs.MakeDir(s.disk, "/data", 0o700); err != nil {
			t.Fatal(err)
		}
		s.start()
		log := logs(1, 300)[0]
		r := log.Read(record.Cursor{})
		s.give(r.Next(10))
		s.settle()
		s.down.Store(true)
		var durable map[string][]byte
		meanwhile := 0
		s.syncing = func() {
			durable = s.journal.Snapshot()
			before := len(s.destination.Taken())
			s.down.Store(false)
			time.Sleep(time.Minute) // it is a slow disk, and all in memory is delivered
			s.down.Store(true)
			meanwhile += len(s.destination.Taken()) - before
		}
		for s.Accounts().Spooled == 0 {
			s.give(r.Next(10))
		}
		s.stop()
		s.syncing = nil
		if err := s.spool.Close(); err != nil {
			t.Fatal(err)
		}
		s.journal.Restore(durable)
		s.disk.PowerLoss(rand.New(rand.NewPCG(1, 1)))
		known := s.cursor(log)
		had := len(s.destination.Taken())
		if meanwhile == 0 {
			t.Fatal("nothing was delivered during the sync")
		}
		s.down.Store(false)
		s.Delivery = delivery.New(s.rig.opts)
		s.open()
		if s.spool.Unread() == 0 {
			t.Fatal("the spool was lost")
		}
		s.start()
		s.giveAll(log)
		s.settle()
		again := s.destination.Taken()[had:]
		for stream := range record.Stream(record.NumStreams) {
			var got []string
			for _, r := range again {
				if r.Stream == stream {
					got = append(got, r.Line)
				}
			}
			if want := log.Lines(stream)[known.Streams[stream].Seq:]; !slices.Equal(got, want) {
				t.Errorf("%v: %d lines were taken after the loss of power, want the %d that the journal does not know of", stream, len(got), len(want))
			}
		}
		s.drain()
	})
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
