package dispatcher_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"log_capturer/internal/deadletter"
	"log_capturer/internal/delivery"
	"log_capturer/internal/delivery/deliverytest"
	"log_capturer/internal/dispatcher"
	"log_capturer/internal/lifetime"
	"log_capturer/internal/positions"
	"log_capturer/internal/record"
	"log_capturer/internal/record/recordtest"
	"log_capturer/internal/spool"
	"log_capturer/internal/vfs"
	"log_capturer/internal/vfs/vfstest"
)

var errKilled = errors.New("the process is gone")

// world is what outlives the agent: the logs, the journal, and what the sinks
// and the dead letters have.
type world struct {
	*deliverytest.Verdict
	journal *deliverytest.Journal
	logs    []*recordtest.Log
	places  map[string]place // of all lines
	sinks   []*destination
	// durable is the journal as a loss of power would leave it.
	durable map[string][]byte
	// replaced counts the times that a sink was replaced.
	replaced atomic.Int64
}

// place is where a line stands in its log, seq from 1.
type place struct {
	source string
	stream record.Stream
	seq    uint64
}

// destination is what one sink has, however it got there.
type destination struct {
	name string
	down bool // in this life
	// had counts how often each line came, repeats how often it may have come
	// again: once for each kill at which it was in flight.
	had, repeats map[string]int
	// inFlight are the lines that came and are not committed.
	inFlight map[string]bool
	largest  int               // request
	disk     *vfstest.Disk     // of the spool, nil without one
	spooled  int               // records that were seen in the spool, in all lives
	last     map[string]uint64 // the record that each stream has got to in this life
}

// life is one run of the agent. After left operations it is killed: nothing
// that it still does reaches anybody.
type life struct {
	*world
	kill context.CancelFunc

	mu   sync.Mutex
	left int
	rand *rand.Rand
}

// act makes an operation, unless the process is gone. Before and after it others
// may come first.
func (l *life) act(operation func() error) error {
	l.yield()
	defer l.yield()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left == 0 {
		l.kill()
		return errKilled
	}
	l.left--
	return operation()
}

// yield lets the others go on now and then. Locks may be held, so that it must
// not sleep.
func (l *life) yield() {
	l.mu.Lock()
	times := max(0, l.rand.IntN(12)-8)
	l.mu.Unlock()
	for range times {
		runtime.Gosched()
	}
}

// sinkOf is a destination in one life, and its journal and dead letters.
type sinkOf struct {
	*life
	*destination
}

func bad(line string) bool { return strings.HasSuffix(line, "7") }

// Send fails in every way there is, and takes its time.
func (s sinkOf) Send(_ context.Context, req *delivery.Request) error {
	s.pause()
	defer s.pause()
	return s.act(func() error {
		s.largest = max(s.largest, req.Len())
		var refused []delivery.Refusal
		var lines []string
		for b, r := range req.All() {
			line := string(b.Line(r))
			if bad(line) {
				refused = append(refused, delivery.Refusal{Index: len(lines), Reason: "bad"})
			}
			lines = append(lines, line)
		}
		switch n := s.rand.IntN(10); {
		case s.down || n < 2:
			return errDown
		case n < 4 && len(lines) > 1:
			return &delivery.TooLargeError{Err: errors.New("413")}
		case n < 7 && len(refused) > 0:
			return &delivery.PermanentError{Reason: "bad", Err: errors.New("400")}
		}
		for _, line := range lines {
			if !bad(line) {
				s.take(line)
			}
		}
		if len(refused) > 0 {
			return &delivery.PartialError{Refused: refused}
		}
		return nil
	})
}

// take keeps a line.
func (s sinkOf) take(line string) {
	p := s.places[line]
	key := p.source + p.stream.String()
	if last := s.last[key]; p.seq <= last {
		s.Errorf("sink %s: record %d of %s comes after record %d", s.name, p.seq, key, last)
	}
	s.last[key] = p.seq
	s.had[line]++
	s.inFlight[line] = true
}

// Append implements delivery.DeadLetters.
func (s sinkOf) Append(entries []deadletter.Entry) error {
	return s.act(func() error {
		if s.rand.IntN(10) == 0 {
			return errors.New("no space left on device")
		}
		for _, e := range entries {
			if line := string(e.Line); !bad(line) {
				s.Errorf("sink %s: %q is a dead letter", s.name, line)
			}
			s.had[string(e.Line)]++
			s.inFlight[string(e.Line)] = true
		}
		return nil
	})
}

// Get implements delivery.Journal.
func (s sinkOf) Get(key string) ([]byte, bool) { return s.journal.Get(key) }

// Commit implements delivery.Journal.
func (s sinkOf) Commit(changes ...positions.Change) error {
	return s.act(func() error {
		if s.rand.IntN(10) == 0 {
			return errors.New("no space left on device")
		}
		if err := s.journal.Commit(changes...); err != nil {
			return err
		}
		for line, p := range s.places {
			if p.seq > delivered(s.journal.Get, s.name, p.source).Streams[p.stream].Seq {
				continue
			}
			if s.had[line] == 0 {
				s.Errorf("sink %s: the cursor passes %q, which nobody has", s.name, line)
			}
			delete(s.inFlight, line)
		}
		return nil
	})
}

// delivered returns the cursor up to which the journal says that a sink has a
// source.
func delivered(get func(string) ([]byte, bool), sink, source string) record.Cursor {
	for _, prefix := range []string{delivery.DeliveredPrefix, delivery.CursorPrefix} {
		if value, ok := get(prefix + sink + "/" + source); ok {
			return deliverytest.Cursor(value)
		}
	}
	return record.Cursor{}
}

// syncJournal makes durable what the journal holds. It takes its time, and what is
// committed meanwhile may be durable with it or not.
func (s sinkOf) syncJournal() error {
	err := s.act(func() error {
		if s.rand.IntN(10) == 0 {
			return errors.New("input/output error")
		}
		s.durable = s.journal.Snapshot()
		return nil
	})
	s.pause()
	return err
}

// pause lets the others go on for a while. No lock may be held.
func (l *life) pause() {
	l.mu.Lock()
	d := time.Duration(max(0, l.rand.IntN(8)-4)) * 10 * time.Millisecond
	l.mu.Unlock()
	time.Sleep(d)
}

// lucky reports whether a read goes well.
func (l *life) lucky() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rand.IntN(20) > 0
}

// losePower takes back what the journal has not made durable, and with it what a
// sink that is made of files has written since. The other sink keeps that, and
// may get it again; so do the dead letters.
func (w *world) losePower(rng *rand.Rand) {
	if rng.IntN(2) == 0 {
		w.durable = w.journal.Snapshot() // it was in time
	}
	w.journal.Restore(w.durable)
	get := func(key string) ([]byte, bool) { v, ok := w.durable[key]; return v, ok }
	for _, d := range w.sinks {
		d.disk.PowerLoss(rng)
		for line, p := range w.places {
			if d.had[line] == 0 || p.seq <= delivered(get, d.name, p.source).Streams[p.stream].Seq {
				continue
			}
			if d.name == "files" && !bad(line) {
				d.had[line], d.repeats[line] = 0, 0
			} else {
				d.repeats[line]++
			}
		}
	}
}

// live runs the agent until it is killed, or has delivered everything. It
// returns false when the agent did not come as far as running.
func (w *world) live(operations, concurrency int, maxBytes int64, seed uint64, replace bool) (started bool) {
	ctx, kill := context.WithCancel(context.Background())
	defer kill()
	l := &life{world: w, kill: kill, left: operations, rand: rand.New(rand.NewPCG(seed, 1))}
	var deliveries []*delivery.Delivery
	for _, d := range w.sinks {
		d.last = map[string]uint64{}
		d.largest = 0
		s := sinkOf{l, d}
		o := options(d.name, s, s, s)
		o.Concurrency = concurrency
		one := delivery.New(o)
		if d.disk != nil {
			stored, err := w.spool(l, s, one, maxBytes)
			if err != nil {
				return false // the agent does not start, or is killed while it does
			}
			defer stored.Close()
		}
		deliveries = append(deliveries, one)
	}
	door := dispatcher.New(deliveries)
	running, reading, watching := lifetime.NewGroup(ctx), lifetime.NewGroup(ctx), lifetime.NewGroup(ctx)
	for i, d := range deliveries {
		running.Go("delivery", d.Run)
		watching.Go("watch", func(ctx context.Context) error { return w.watch(ctx, d, w.sinks[i]) })
		if replace {
			s := sinkOf{l, w.sinks[i]}
			chance := rand.New(rand.NewPCG(seed, uint64(i)+100))
			watching.Go("replace", func(ctx context.Context) error {
				return w.replace(ctx, d, options(d.Name(), s, s, s), maxBytes, chance)
			})
		}
	}
	for i, log := range w.logs {
		reading.Go("monitor", func(ctx context.Context) error {
			sizes := rand.New(rand.NewPCG(seed, uint64(i)))
			return read(ctx, door, log, sizes)
		})
	}
	if err := reading.Wait(); err != nil {
		w.Errorf("read: %v", err)
	}
	if operations < 0 {
		// A stop leaves to the spool what is in it.
		for _, d := range deliveries {
			deadline := time.Now().Add(time.Minute)
			for a := d.Accounts(); a.InMemory+a.Spooled > 0; a = d.Accounts() {
				if time.Now().After(deadline) {
					w.Errorf("sink %s: not drained: %+v", d.Name(), a)
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
	}
	for _, d := range deliveries {
		d.CloseInput()
	}
	if err := running.Wait(); err != nil {
		w.Errorf("deliver: %v", err)
	}
	watching.Cancel()
	_ = watching.Wait()
	for _, d := range w.sinks {
		// One request a worker, and nothing beside it.
		most := concurrency * d.largest
		if replace {
			most = maxConcurrency * d.largest
		}
		if len(d.inFlight) > most {
			w.Errorf("sink %s: %d records were in flight at the kill, %d workers with requests of up to %d", d.name, len(d.inFlight), concurrency, d.largest)
		}
		for line := range d.inFlight {
			d.repeats[line]++
		}
		clear(d.inFlight)
	}
	return true
}

// spool opens a sink's spool and gives it to its delivery.
func (w *world) spool(l *life, s sinkOf, d *delivery.Delivery, maxBytes int64) (*spool.Spool, error) {
	s.disk.Kill()
	stored, err := spool.Open("/data/spool/"+s.name, spool.Options{
		FS: killFS{s.disk, l}, MaxBytes: maxBytes, SegmentBytes: 800, Committed: delivery.SpoolCommitted(s, s.name),
	})
	if err != nil {
		return nil, err
	}
	if err := d.UseSpool(delivery.SpoolOptions{Spool: stored, SyncJournal: s.syncJournal}); err != nil {
		return nil, errors.Join(err, stored.Close())
	}
	return stored, nil
}

// maxConcurrency is the most workers that a sink is given.
const maxConcurrency = 3

// replace gives the sink of a delivery other settings, and its spool another size,
// again and again.
func (w *world) replace(ctx context.Context, d *delivery.Delivery, opts delivery.Options, maxBytes int64, rng *rand.Rand) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Duration(rng.IntN(4000)) * time.Microsecond):
		}
		opts.Concurrency, opts.BatchRecords = 1+rng.IntN(maxConcurrency), 1+rng.IntN(20)
		opts.WindowBytes = int64(1000 + rng.IntN(8000))
		switch err := d.Replace(ctx, opts); {
		case errors.Is(err, delivery.ErrOver) || ctx.Err() != nil:
			return nil
		case err != nil:
			w.Errorf("replace: %v", err)
		}
		w.replaced.Add(1)
		if maxBytes > 0 {
			d.ChangeSpool(maxBytes/2+rng.Int64N(maxBytes), rng.IntN(5) == 0, false)
		}
	}
}

// watch holds the accounts to their identity, at every moment.
func (w *world) watch(ctx context.Context, d *delivery.Delivery, to *destination) error {
	for {
		a := d.Accounts()
		if a.Accepted != a.Acknowledged+a.InMemory+a.Spooled+a.DeadLettered+a.Dropped || a.Dropped > 0 {
			w.Errorf("sink %s: accounts %+v", d.Name(), a)
		}
		to.spooled = max(to.spooled, int(a.Spooled))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Millisecond):
		}
	}
}

// read gives a log to the dispatcher from where the sinks stand, as a monitor
// does: what was given up by an Accept comes again, in other batches.
func read(ctx context.Context, door *dispatcher.Dispatcher, log *recordtest.Log, sizes *rand.Rand) error {
	var cursors []record.Cursor
	for {
		var err error
		if cursors, err = door.Resume(log.Source.Key, record.Cursor{}); err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil
		}
	}
	reader := log.Read(cursors...)
	for {
		reader.Open = record.StreamSet(sizes.IntN(int(record.AllStreams) + 1))
		b := reader.Next(1 + sizes.IntN(12))
		if b == nil {
			return nil
		}
		lease, end := context.WithTimeout(ctx, time.Duration(1+sizes.IntN(100))*time.Millisecond)
		err := door.Accept(lease, b)
		end()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, context.DeadlineExceeded):
			reader.Back()
		case err != nil:
			return err
		}
	}
}

// TestKilledAtAnyMoment kills the agent at random moments, between any two of
// its effects, and starts it again. Nothing is lost at any sink, and nothing
// comes again but what was in flight at a kill.
func TestKilledAtAnyMoment(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) { newWorld().kills(t, rt, false, false) })
}

// TestKilledWhileReplaced does the same to an agent whose sinks are replaced all
// the time, with spools and without.
func TestKilledWhileReplaced(t *testing.T) {
	var replaced int64
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld()
		w.kills(t, rt, rapid.Bool().Draw(rt, "spools"), true)
		replaced += w.replaced.Load()
	})
	if replaced < 1000 {
		t.Errorf("sinks were replaced only %d times, in all runs", replaced)
	}
	t.Logf("sinks were replaced %d times", replaced)
}

// TestKilledWithSpools does the same to an agent with spools, on disks that fail
// now and then, and takes the machine's power away as well.
func TestKilledWithSpools(t *testing.T) {
	spooled := 0
	rapid.Check(t, func(rt *rapid.T) { spooled += newWorld().kills(t, rt, true, false) })
	if spooled < 100 {
		t.Errorf("only %d records were in spools, in all runs", spooled)
	}
}

func newWorld() *world {
	return &world{Verdict: &deliverytest.Verdict{}, journal: deliverytest.NewJournal(), places: map[string]place{}}
}

// kills runs the agent in several lives, of which the last one delivers all. It
// returns the most records that were in a spool at one time.
func (w *world) kills(t *testing.T, rt *rapid.T, spools, replace bool) int {
	for i := range rapid.IntRange(1, 3).Draw(rt, "sources") {
		log := recordtest.NewLog(fmt.Sprint("container/", i)).Fill(rapid.IntRange(1, 60).Draw(rt, "lines"))
		w.logs = append(w.logs, log)
		for s := range record.Stream(record.NumStreams) {
			for n, line := range log.Lines(s) {
				w.places[line] = place{log.Source.Key, s, uint64(n) + 1}
			}
		}
	}
	for _, name := range []string{"files", "loki"} {
		d := &destination{name: name, had: map[string]int{}, repeats: map[string]int{}, inFlight: map[string]bool{}}
		if spools {
			d.disk = vfstest.NewDisk()
			if err := vfs.MakeDir(d.disk, "/data", 0o700); err != nil {
				rt.Fatal(err)
			}
		}
		w.sinks = append(w.sinks, d)
	}
	seed := rapid.Uint64().Draw(rt, "seed")
	concurrency := rapid.IntRange(1, 3).Draw(rt, "concurrency")
	longest, maxBytes := 150, int64(0)
	if spools {
		longest = 400
		maxBytes = rapid.Int64Range(4000, 30000).Draw(rt, "size of the spools")
	}
	lives := rapid.SliceOfN(rapid.IntRange(0, longest), 0, 6).Draw(rt, "operations of each life")
	down := rapid.SliceOfN(rapid.SampledFrom([]string{"", "", "files", "loki"}), len(lives), len(lives)).Draw(rt, "down")
	power := rapid.SliceOfN(rapid.Bool(), len(lives), len(lives)).Draw(rt, "loss of power")
	synctest.Test(t, func(t *testing.T) {
		w.TB = t
		for n, operations := range lives {
			for _, d := range w.sinks {
				d.down = d.name == down[n]
			}
			w.live(operations, concurrency, maxBytes, seed+uint64(n), replace)
			if spools && power[n] {
				w.losePower(rand.New(rand.NewPCG(seed, uint64(n))))
			}
		}
		for _, d := range w.sinks {
			d.down = false
		}
		for try := uint64(1); !w.live(-1, concurrency, maxBytes, seed-try, replace); try++ {
		}
	})
	most := 0
	for _, d := range w.sinks {
		most = max(most, d.spooled)
		for line := range w.places {
			if had, most := d.had[line], 1+d.repeats[line]; had < 1 || had > most {
				w.Errorf("sink %s has %q %d times, want at least once and at most %d times", d.name, line, had, most)
			}
		}
	}
	if err := w.Err(); err != "" {
		rt.Fatal(err)
	}
	return most
}
