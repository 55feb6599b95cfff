package delivery_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"log_capturer/internal/delivery"
	"log_capturer/internal/delivery/deliverytest"
	"log_capturer/internal/health"
	"log_capturer/internal/record"
	"log_capturer/internal/record/recordtest"
	"log_capturer/internal/spool"
)

const spoolDir = "/data/spool/files"

// spooling is a rig whose delivery has a spool on the rig's disk.
type spooling struct {
	*rig
	down atomic.Bool
	// left is how many requests the destination takes before it goes down;
	// negative for any number.
	left  atomic.Int64
	spool *spool.Spool
	opts  delivery.SpoolOptions
	size  spool.Options
	syncs atomic.Int64
	// syncing is called in each sync of the journal, when it is not nil.
	syncing func()
}

func newSpooling(t testing.TB, window int64, size spool.Options, opts delivery.SpoolOptions) *spooling {
	s := &spooling{opts: opts, size: size}
	s.rig = newRig(t, func(context.Context, deliverytest.Attempt) error {
		if s.down.Load() || s.left.Add(-1) == -1 {
			s.down.Store(true)
			return errDown
		}
		return nil
	}, func(o *delivery.Options) { o.WindowBytes, o.BatchRecords = window, 20 })
	s.left.Store(1 << 40)
	s.open()
	t.Cleanup(func() { s.spool.Close() })
	return s
}

// open gives the delivery its spool.
func (s *spooling) open() {
	s.t.Helper()
	s.size.FS, s.size.Committed = s.disk, delivery.SpoolCommitted(s.journal, "files")
	var err error
	if s.spool, err = spool.Open(spoolDir, s.size); err != nil {
		s.t.Fatal(err)
	}
	s.opts.Spool = s.spool
	s.opts.SyncJournal = func() error {
		s.syncs.Add(1)
		if s.syncing != nil {
			s.syncing()
		}
		return nil
	}
	if err := s.UseSpool(s.opts); err != nil {
		s.t.Fatal(err)
	}
}

// again ends the process and starts another one.
func (s *spooling) again(kill bool) {
	s.t.Helper()
	if kill {
		s.stop()
	}
	if err := s.spool.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.Delivery = delivery.New(s.rig.opts)
	s.open()
	s.start()
}

// giveAll enqueues a log in batches of ten.
func (s *spooling) giveAll(log *recordtest.Log) {
	s.t.Helper()
	c, _, err := s.Cursor(log.Source.Key)
	if err != nil {
		s.t.Fatal(err)
	}
	for r := log.Read(c); ; {
		b := r.Next(10)
		if b == nil {
			return
		}
		s.give(b)
		s.identity()
	}
}

func (s *spooling) identity() {
	s.t.Helper()
	a := s.Accounts()
	if a.Accepted != a.Acknowledged+a.InMemory+a.Spooled+a.DeadLettered+a.Dropped {
		s.t.Errorf("accounts %+v", a)
	}
}

// settle waits until everything is delivered.
func (s *spooling) settle() {
	s.t.Helper()
	for range 100000 {
		s.identity()
		if a := s.Accounts(); a.InMemory+a.Spooled == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatalf("not delivered: %+v", s.Accounts())
}

func (s *spooling) wantAll(logs ...*recordtest.Log) {
	s.t.Helper()
	for _, log := range logs {
		for stream := range record.Stream(record.NumStreams) {
			if got, want := s.destination.TakenOf(log.Source.Key, stream), log.Lines(stream); !slices.Equal(got, want) {
				s.t.Errorf("%s %v: taken %d lines %.300q, want %d", log.Source.Key, stream, len(got), got, len(want))
			}
		}
	}
}

func (s *spooling) wantNoSpool() {
	s.t.Helper()
	if files := s.disk.Files(spoolDir); len(files) != 0 {
		s.t.Errorf("the spool still has %q", files)
	}
	for _, key := range s.journal.Keys() {
		if len(key) > len(delivery.DeliveredPrefix) && key[:len(delivery.DeliveredPrefix)] == delivery.DeliveredPrefix {
			s.t.Errorf("the journal still has %q", key)
		}
	}
}

func logs(n, lines int) (all []*recordtest.Log) {
	for i := range n {
		all = append(all, recordtest.NewLog(fmt.Sprint("container/", i)).Fill(lines))
	}
	return all
}

// A sink keeps up: nothing is written to the disk.
func TestSpoolStaysEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpooling(t, 1<<20, spool.Options{MaxBytes: 1 << 20}, delivery.SpoolOptions{})
		s.start()
		all := logs(2, 300)
		for _, log := range all {
			s.giveAll(log)
		}
		s.settle()
		s.wantAll(all...)
		if s.spool.Recovery().Records != 0 || s.spool.End() != 0 || s.syncs.Load() != 0 {
			t.Errorf("%d records went through the spool", s.spool.End())
		}
		s.drain()
	})
}

// A destination goes down: nobody waits, and memory stays within the window.
// When it comes back everything is delivered once, in order, while more keeps
// coming, and the spool is empty then.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const window = 20000
		s := newSpooling(t, window, spool.Options{MaxBytes: 1 << 20, SegmentBytes: 4000}, delivery.SpoolOptions{})
		s.start()
		s.down.Store(true)
		all := logs(5, 1000)
		began := time.Now()
		for _, log := range all[:4] {
			s.giveAll(log)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("sources waited %v for a destination that is down", took)
		}
		if a := s.Accounts(); a.Spooled < 3000 || a.Accepted != 4000 {
			t.Errorf("accounts %+v", a)
		}
		s.down.Store(false)
		s.giveAll(all[4])
		s.settle()
		s.wantAll(all...)
		time.Sleep(time.Second)
		s.wantNoSpool()
		if a := s.Accounts(); a.Acknowledged != 5000 {
			t.Errorf("accounts %+v", a)
		}
		// What comes now goes through memory again.
		end := s.spool.End()
		more := logs(6, 10)[5]
		s.giveAll(more)
		s.settle()
		if s.spool.End() != end {
			t.Error("more goes through a spool that is empty")
		}
		s.wantAll(more)
		s.drain()
	})
}

// A stop leaves nothing in memory alone, and does not wait for a destination that
// is down. The next start delivers it, although the container is gone.
func TestStopWithSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpooling(t, 1<<20, spool.Options{MaxBytes: 1 << 20}, delivery.SpoolOptions{})
		s.start()
		s.down.Store(true)
		log := logs(1, 500)[0]
		s.giveAll(log)
		time.Sleep(time.Second)
		began := time.Now()
		s.drain()
		if took := time.Since(began); took > time.Second {
			t.Errorf("the stop took %v", took)
		}
		if a := s.Accounts(); a.Spooled != 500 || a.InMemory != 0 {
			t.Errorf("after the stop %+v", a)
		}
		if c := s.cursor(log); c.Total() != 500 {
			t.Errorf("the cursor is at %d", c.Total())
		}
		s.down.Store(false)
		s.again(false)
		s.settle()
		s.wantAll(log)
		s.drain()
	})
}

// A stop delivers what it can when the destination is well, and ends in time
// when it hangs.
func TestStopWithSpoolAndDestination(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpooling(t, 1<<20, spool.Options{MaxBytes: 1 << 20}, delivery.SpoolOptions{})
		s.start()
		all := logs(2, 100)
		s.giveAll(all[0])
		s.drain()
		s.wantAll(all[0])
		s.destination.Answer = func(ctx context.Context, _ deliverytest.Attempt) error {
			<-ctx.Done()
			return ctx.Err()
		}
		s.again(false)
		s.giveAll(all[1])
		began := time.Now()
		s.drain()
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("the stop took %v", took)
		}
		s.destination.Answer = nil
		s.again(false)
		s.settle()
		s.wantAll(all...)
		s.drain()
	})
}

// A kill repeats what was in flight, and nothing that was delivered out of the
// spool before.
func TestKillWithSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpooling(t, 20000, spool.Options{MaxBytes: 1 << 20, SegmentBytes: 4000}, delivery.SpoolOptions{})
		s.start()
		s.down.Store(true)
		all := logs(3, 600)
		for _, log := range all {
			s.giveAll(log)
		}
		s.left.Store(30)
		s.down.Store(false)
		time.Sleep(time.Minute)
		before := s.Accounts()
		if before.Acknowledged == 0 || before.Spooled == 0 {
			t.Fatalf("accounts %+v", before)
		}
		s.left.Store(1 << 40)
		s.down.Store(false)
		s.again(true)
		s.settle()
		s.wantAll(all...)
		if a := s.Accounts(); a.Accepted < before.Spooled || a.Dropped != 0 {
			t.Errorf("accounts %+v, before %+v", a, before)
		}
		s.drain()
		s.wantNoSpool()
	})
}

// A full spool that blocks makes the sources wait, and loses nothing; health says
// so.
func TestFullSpoolBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpooling(t, 20000, spool.Options{MaxBytes: 20000, SegmentBytes: 2000}, delivery.SpoolOptions{})
		s.start()
		s.down.Store(true)
		log := logs(1, 3000)[0]
		given := make(chan struct{})
		go func() {
			defer close(given)
			s.giveAll(log)
		}()
		time.Sleep(time.Minute)
		select {
		case <-given:
			t.Fatal("everything fitted")
		default:
		}
		if s.disk.Used() > 20000 {
			t.Errorf("the disk holds %d bytes", s.disk.Used())
		}
		if c := component(s, "spool/files"); c.Status != health.Degraded || c.Reason == "" {
			t.Errorf("health %+v", c)
		}
		s.down.Store(false)
		<-given
		s.settle()
		s.wantAll(log)
		if c := component(s, "spool/files"); c.Status != health.Healthy {
			t.Errorf("health %+v", c)
		}
		s.drain()
	})
}

func component(s *spooling, name string) health.Component {
	for _, c := range s.Health() {
		if c.Name == name {
			return c
		}
	}
	return health.Component{}
}

// A full spool that drops gives up the oldest records that are not under way, and
// counts them to the record; nobody waits.
func TestFullSpoolDropsOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpooling(t, 20000, spool.Options{MaxBytes: 60000, SegmentBytes: 2000}, delivery.SpoolOptions{DropOldest: true})
		s.start()
		s.down.Store(true)
		log := logs(1, 20000)[0]
		began := time.Now()
		s.giveAll(log)
		if took := time.Since(began); took != 0 {
			t.Errorf("sources waited %v", took)
		}
		dropped := s.Accounts().Dropped
		if dropped < 1000 || s.disk.Used() > 60000 {
			t.Errorf("%d dropped, %d bytes", dropped, s.disk.Used())
		}
		s.down.Store(false)
		s.settle()
		a := s.Accounts()
		if a.Acknowledged != 20000-dropped || a.Dropped != dropped {
			t.Errorf("accounts %+v, %d dropped before", a, dropped)
		}
		taken := s.destination.TakenLines()
		if uint64(len(taken)) != 20000-dropped || len(slices.Compact(slices.Sorted(slices.Values(taken)))) != len(taken) {
			t.Errorf("%d lines taken, want %d, each once", len(taken), 20000-dropped)
		}
		if last := taken[len(taken)-1]; last != log.Lines(record.Stderr)[9999] {
			t.Errorf("the last is %q", last)
		}
		s.drain()
		s.wantNoSpool()
	})
}

// A spool that was turned off is emptied before anything new is delivered.
func TestSpoolTurnedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpooling(t, 20000, spool.Options{MaxBytes: 1 << 20}, delivery.SpoolOptions{})
		s.start()
		s.down.Store(true)
		log := logs(1, 1000)[0]
		s.giveAll(log)
		s.opts.EmptyOnly, s.size.MaxBytes = true, 0
		s.again(true)
		log.Fill(500)
		given := make(chan struct{})
		go func() {
			defer close(given)
			s.giveAll(log)
		}()
		time.Sleep(time.Minute)
		select {
		case <-given:
			t.Error("new records do not wait for the spool")
		default:
		}
		if a := s.Accounts(); a.Accepted != a.Spooled || a.Spooled == 0 {
			t.Errorf("accounts %+v", a)
		}
		s.down.Store(false)
		<-given
		s.settle()
		s.wantAll(log)
		time.Sleep(time.Second)
		s.wantNoSpool()
		s.drain()
	})
}
