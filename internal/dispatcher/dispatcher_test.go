package dispatcher_test

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"log_capturer/internal/deadletter"
	"log_capturer/internal/delivery"
	"log_capturer/internal/delivery/deliverytest"
	"log_capturer/internal/dispatcher"
	"log_capturer/internal/lifetime"
	"log_capturer/internal/record"
	"log_capturer/internal/record/recordtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errDown = errors.New("the destination is down")

// noDeadLetters fails the test when something is refused.
type noDeadLetters struct{ t testing.TB }

func (n noDeadLetters) Append([]deadletter.Entry) error {
	n.t.Error("a record was refused")
	return nil
}

// options are those of a sink whose window holds few batches.
func options(name string, sink delivery.Sink, journal delivery.Journal, dead delivery.DeadLetters) delivery.Options {
	return delivery.Options{
		Name: name, Sink: sink, Journal: journal, DeadLetters: dead,
		WindowBytes: 6000, Concurrency: 1, BatchBytes: 1 << 20, BatchRecords: 10,
		Timeout: time.Minute, MinBackoff: time.Millisecond, MaxBackoff: 100 * time.Millisecond,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// bench is a dispatcher with sinks over one journal.
type bench struct {
	*dispatcher.Dispatcher
	t          *testing.T
	deliveries []*delivery.Delivery
	sinks      []*deliverytest.Destination
	group      *lifetime.Group
}

// newBench starts deliveries to sinks with the given names.
func newBench(t *testing.T, journal *deliverytest.Journal, names ...string) *bench {
	b := &bench{t: t, group: lifetime.NewGroup(context.Background())}
	for _, name := range names {
		destination := &deliverytest.Destination{}
		d := delivery.New(options(name, destination, journal, noDeadLetters{t}))
		b.deliveries, b.sinks = append(b.deliveries, d), append(b.sinks, destination)
	}
	b.Dispatcher = dispatcher.New(b.deliveries)
	return b
}

func (b *bench) start() {
	for _, d := range b.deliveries {
		b.group.Go("delivery", d.Run)
	}
}

func (b *bench) drain() {
	b.t.Helper()
	for _, d := range b.deliveries {
		d.CloseInput()
	}
	if err := b.group.Wait(); err != nil {
		b.t.Error(err)
	}
}

func (b *bench) stop() {
	b.t.Helper()
	b.group.Cancel()
	if err := b.group.Wait(); err != nil {
		b.t.Error(err)
	}
}

func (b *bench) accept(batch *record.Batch) {
	b.t.Helper()
	if err := b.Accept(b.t.Context(), batch); err != nil {
		b.t.Error(err)
	}
}

func (b *bench) resume(source string, start record.Cursor) []record.Cursor {
	b.t.Helper()
	known, err := b.Resume(source, start)
	if err != nil {
		b.t.Error(err)
	}
	return known
}

// wantAll fails the test unless each sink has taken the whole log once.
func (b *bench) wantAll(log *recordtest.Log) {
	b.t.Helper()
	for i, sink := range b.sinks {
		for s := range record.Stream(record.NumStreams) {
			if got, want := sink.TakenOf(log.Source.Key, s), log.Lines(s); !slices.Equal(got, want) {
				b.t.Errorf("sink %s has taken of %v\n%q, want\n%q", b.deliveries[i].Name(), s, got, want)
			}
		}
	}
}

// down makes a sink fail until up is closed.
func down(sink *deliverytest.Destination) (up chan struct{}) {
	up = make(chan struct{})
	sink.Answer = func(context.Context, deliverytest.Attempt) error {
		select {
		case <-up:
			return nil
		default:
			return errDown
		}
	}
	return up
}

// TestFullSink says that a sink that is full blocks the source, when all other
// sinks have the batch, and that an Accept that was given up loses and repeats
// nothing when the batch comes again.
func TestFullSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, deliverytest.NewJournal(), "a", "b", "c")
		up := down(b.sinks[1])
		b.start()
		log := recordtest.NewLog("container/1").Fill(100)
		reader := log.Read()
		var err error
		var accepted int
		for {
			batch := reader.Next(5)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			err = b.Accept(ctx, batch)
			cancel()
			if err != nil {
				reader.Back()
				break
			}
			accepted += 5
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Accept = %v, want that it blocks", err)
		}
		for _, i := range []int{0, 2} {
			if got := len(b.sinks[i].Taken()); got != accepted+5 {
				t.Errorf("sink %d has taken %d records beside the full one, want %d", i, got, accepted+5)
			}
		}
		close(up)
		for batch := reader.Next(7); batch != nil; batch = reader.Next(7) {
			b.accept(batch)
		}
		b.drain()
		b.wantAll(log)
	})
}

// TestTwoFullSinks says that a sink gets the batch as soon as it has room, however
// long another one is still full.
func TestTwoFullSinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, deliverytest.NewJournal(), "a", "b", "c")
		stillDown, up := down(b.sinks[0]), down(b.sinks[2])
		b.start()
		log := recordtest.NewLog("container/1").Fill(30)
		reading := lifetime.NewGroup(t.Context())
		reading.Go("monitor", func(context.Context) error {
			reader := log.Read()
			for batch := reader.Next(3); batch != nil; batch = reader.Next(3) {
				b.accept(batch)
				time.Sleep(time.Second) // until sink b has room again
			}
			return nil
		})
		time.Sleep(time.Minute)
		before := len(b.sinks[1].Taken())
		if before == 30 {
			t.Fatal("no sink was full")
		}
		close(up)
		time.Sleep(time.Minute)
		if got := len(b.sinks[2].Taken()); got != before {
			t.Errorf("sink c has taken %d records, and sink b, which was never full, %d", got, before)
		}
		close(stillDown)
		if err := reading.Wait(); err != nil {
			t.Error(err)
		}
		b.drain()
		b.wantAll(log)
	})
}

// TestAcceptEndsTheHold says that the dispatcher takes over the caller's hold,
// and each sink ends its own.
func TestAcceptEndsTheHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, deliverytest.NewJournal(), "a", "b")
		batch := recordtest.NewLog("container/1").Fill(1).Read().Next(1)
		batch.Append(record.Record{}, make([]byte, 5000)) // too large for the pool
		b.accept(batch)
		if len(batch.Records) == 0 {
			t.Error("the batch was released before it was delivered")
		}
		b.start()
		b.drain()
		defer func() {
			if recover() == nil {
				t.Error("somebody still holds the batch")
			}
		}()
		batch.Release()
	})
}

// TestResume says where a source is read from, with sinks at different places,
// new ones among them, and after restarts.
func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const source = "container/1"
		log := recordtest.NewLog(source).Fill(30)
		cursorAt := func(n int) record.Cursor {
			reader := log.Read()
			reader.Next(n).Release()
			return reader.Cursor()
		}
		var zero record.Cursor
		journal := deliverytest.NewJournal()

		// Nobody knows it.
		b := newBench(t, journal, "a", "b")
		if known := b.resume(source, zero); len(known) != 0 {
			t.Errorf("known %+v, want nothing", known)
		}
		down(b.sinks[1])
		b.start()
		b.accept(log.Read().Next(10))
		synctest.Wait()
		b.stop()

		// One is down since the beginning: it wants everything still.
		b = newBench(t, journal, "a", "b")
		if known, want := b.resume(source, cursorAt(29)), []record.Cursor{cursorAt(10), zero}; !reflect.DeepEqual(known, want) {
			t.Errorf("known %+v, want %+v", known, want)
		}
		b.start()
		reader := log.Read(cursorAt(10), zero)
		b.accept(reader.Next(4))
		b.accept(reader.Next(10))
		synctest.Wait()
		if got := [2]int{len(b.sinks[0].Taken()), len(b.sinks[1].Taken())}; got != [2]int{4, 14} {
			t.Errorf("the sinks have taken %d records, want 4 and 14", got)
		}
		down(b.sinks[1])
		b.accept(reader.Next(3))
		synctest.Wait()
		b.stop()

		// A new one begins where the one that is furthest behind stands.
		b = newBench(t, journal, "a", "new", "b")
		known := b.resume(source, zero)
		var seqs []uint64
		for _, c := range known {
			seqs = append(seqs, c.Streams[record.Stdout].Seq+c.Streams[record.Stderr].Seq)
		}
		if want := []uint64{17, 14}; !slices.Equal(seqs, want) {
			t.Fatalf("the sinks stand at %d, want %d", seqs, want)
		}
		b.start()
		for reader, n := log.Read(known...), 1; ; n++ {
			batch := reader.Next(n)
			if batch == nil {
				break
			}
			b.accept(batch)
		}
		b.drain()
		if got := [3]int{len(b.sinks[0].Taken()), len(b.sinks[1].Taken()), len(b.sinks[2].Taken())}; got != [3]int{13, 16, 16} {
			t.Errorf("the sinks have taken %d records, want 13, 16 and 16", got)
		}

		// Forgotten, it is new to all.
		b = newBench(t, journal, "a", "new", "b")
		if err := b.Forget(source); err != nil {
			t.Error(err)
		}
		if keys := journal.Keys(); len(keys) > 0 {
			t.Errorf("the journal still has %q", keys)
		}
		var start record.Cursor
		for s := range start.Streams {
			start.Streams[s].Time = 12345
		}
		for range 2 {
			for _, c := range b.resume(source, start) {
				if c != start {
					t.Errorf("known %+v, want the start", c)
				}
			}
			b = newBench(t, journal, "a", "new", "b")
		}
		if known := b.resume(source, zero); len(known) != 3 {
			t.Errorf("%d sinks know their start, want 3", len(known))
		}
	})
}
