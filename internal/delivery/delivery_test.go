package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"log_capturer/internal/delivery"
	"log_capturer/internal/delivery/deliverytest"
	"log_capturer/internal/health"
	"log_capturer/internal/positions"
	"log_capturer/internal/queue"
	"log_capturer/internal/record"
	"log_capturer/internal/record/recordtest"
	"log_capturer/internal/vfs/vfstest"
)

// failAtRandom answers at random, and refuses the records that are marked.
func failAtRandom(_ context.Context, a deliverytest.Attempt) error {
	var bad []delivery.Refusal
	for i, r := range a.Records {
		if strings.HasSuffix(r.Line, "7") {
			bad = append(bad, delivery.Refusal{Index: i, Reason: "seven"})
		}
	}
	time.Sleep(time.Duration(rand.IntN(int(time.Millisecond))))
	switch n := rand.IntN(10); {
	case n < 2:
		return errDown
	case n < 3 && len(a.Records) > 1:
		return &delivery.TooLargeError{Err: errors.New("413")}
	case n < 6 && len(bad) > 0:
		return &delivery.PermanentError{Reason: "seven", Err: errors.New("bad")}
	case len(bad) > 0:
		return &delivery.PartialError{Refused: bad}
	}
	return nil
}

// byParity is a destination that cannot take odd and even sources together, nor
// the two streams of an odd one.
type byParity struct{ *deliverytest.Destination }

func (byParity) Group(source *record.Source, stream record.Stream) string {
	if last := source.Key[len(source.Key)-1]; last%2 == 0 {
		return "even"
	}
	return "odd " + stream.String()
}

// TestEachRecordOnceInOrder is the promise of the package, kept with 40 sources,
// four requests in flight, groups, and a destination that fails in every way.
func TestEachRecordOnceInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const sources, records = 40, 200
		var mu sync.Mutex
		inFlight, most := map[string]bool{}, 0
		r := newRig(t, func(ctx context.Context, a deliverytest.Attempt) error {
			mu.Lock()
			mine := map[string]bool{}
			for _, rec := range a.Records {
				key := rec.Source + rec.Stream.String()
				if inFlight[key] && !mine[key] {
					t.Errorf("%s is in two requests at once", key)
				}
				inFlight[key], mine[key] = true, true
			}
			most = max(most, len(inFlight))
			mu.Unlock()
			err := failAtRandom(ctx, a)
			mu.Lock()
			for key := range mine {
				delete(inFlight, key)
			}
			mu.Unlock()
			return err
		}, func(o *delivery.Options) {
			o.Concurrency, o.WindowBytes = 4, 50_000
			o.BatchRecords, o.Linger = 100, 100*time.Millisecond
			o.MinBackoff, o.MaxBackoff = time.Millisecond, 10*time.Millisecond
			o.Sink = byParity{o.Sink.(*deliverytest.Destination)}
		})
		r.start()

		sampling, stop := context.WithCancel(t.Context())
		var samplers, producers sync.WaitGroup
		samplers.Go(func() {
			for sampling.Err() == nil {
				if a := r.Accounts(); a.Accepted != a.Acknowledged+a.InMemory+a.DeadLettered {
					t.Errorf("accounts do not add up: %+v", a)
				}
				time.Sleep(time.Millisecond)
			}
		})
		logs := make([]*recordtest.Log, sources)
		for i := range logs {
			logs[i] = recordtest.NewLog(fmt.Sprintf("container/%02d", i)).Fill(records)
			producers.Go(func() {
				reader := logs[i].Read()
				for b := reader.Next(1); b != nil; b = reader.Next(1 + rand.IntN(20)) {
					r.give(b)
				}
			})
		}
		producers.Wait()
		r.drain()
		stop()
		samplers.Wait()

		dead := map[string]bool{}
		for _, d := range r.deadLetters() {
			if dead[d.Line] || !strings.HasSuffix(d.Line, "7") || d.Reason != "seven" {
				t.Errorf("a wrong dead letter: %+v", d)
			}
			dead[d.Line] = true
		}
		for _, log := range logs {
			for s := range record.Stream(record.NumStreams) {
				want := slices.DeleteFunc(log.Lines(s), func(line string) bool { return strings.HasSuffix(line, "7") })
				if got := r.destination.TakenOf(log.Source.Key, s); !slices.Equal(got, want) {
					t.Errorf("%s %v: taken\n%q, want\n%q", log.Source.Key, s, got, want)
				}
			}
			if got := r.cursor(log); got.Total() != records {
				t.Errorf("%s: cursor at %d of %d", log.Source.Key, got.Total(), records)
			}
		}
		const bad = sources * records / 10
		r.wantAccounts(delivery.Accounts{Accepted: sources * records, Acknowledged: sources*records - bad, DeadLettered: bad})
		if len(dead) != bad {
			t.Errorf("%d dead letters, want %d", len(dead), bad)
		}
		if most < 2 {
			t.Errorf("%d streams were in flight at once, want several", most)
		}
	})
}

// TestAccountsAddUpAtEveryMoment looks at the accounts all the time.
func TestAccountsAddUpAtEveryMoment(t *testing.T) {
	r := newRig(t, func(_ context.Context, a deliverytest.Attempt) error {
		if a.Number%3 == 0 {
			return &delivery.PartialError{Refused: []delivery.Refusal{{Index: 0, Reason: "third"}}}
		}
		return nil
	}, func(o *delivery.Options) { o.BatchRecords = 1 })
	r.start()
	var sampler sync.WaitGroup
	stop := make(chan struct{})
	sampler.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if a := r.Accounts(); a.Accepted != a.Acknowledged+a.InMemory+a.DeadLettered {
				t.Errorf("accounts do not add up: %+v", a)
				return
			}
		}
	})
	reader := recordtest.NewLog("container/a").Fill(3000).Read()
	for b := reader.Next(1); b != nil; b = reader.Next(1) {
		r.give(b)
	}
	r.drain()
	close(stop)
	sampler.Wait()
	r.wantAccounts(delivery.Accounts{Accepted: 3000, Acknowledged: 2000, DeadLettered: 1000})
}

// TestGroups says that records of different groups come in requests of their
// own, each in order.
func TestGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, func(o *delivery.Options) {
			o.Linger = time.Second
			o.Sink = byParity{o.Sink.(*deliverytest.Destination)}
		})
		r.start()
		odd, even := recordtest.NewLog("1").Fill(4), recordtest.NewLog("2").Fill(3)
		r.give(odd.Read().Next(4))
		r.give(even.Read().Next(3))
		r.drain()
		var got []string
		for _, a := range r.destination.Attempts() {
			got = append(got, a.Group+": "+strings.Join(a.Lines(), ", "))
		}
		want := []string{
			"odd stdout: 1 line 0, 1 line 2", "odd stderr: 1 line 1, 1 line 3",
			"even: 2 line 0, 2 line 1, 2 line 2",
		}
		if !slices.Equal(got, want) {
			t.Errorf("requests %q, want %q", got, want)
		}
		for _, log := range []*recordtest.Log{odd, even} {
			if c := r.cursor(log); c.Total() != uint64(len(log.Lines(0))+len(log.Lines(1))) {
				t.Errorf("%s: cursor %+v", log.Source.Key, c)
			}
		}
	})
}

// TestJournalFails says that while positions cannot be written nothing more is
// delivered, and that nothing is delivered twice for it.
func TestJournalFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, nil)
		log := lines("a", "b", "c")
		reader := log.Read()
		r.start()
		r.give(reader.Next(1))
		synctest.Wait()
		r.journal.Before(func([]positions.Change) error { return syscall.ENOSPC })
		r.give(reader.Next(1))
		synctest.Wait()
		r.give(reader.Next(1))
		time.Sleep(10 * time.Minute)
		r.wantTaken("a", "b")
		if got := r.cursor(log).Total(); got != 1 {
			t.Errorf("cursor at %d, want 1", got)
		}
		r.wantAccounts(delivery.Accounts{Accepted: 3, Acknowledged: 1, InMemory: 2})
		wantHealth(t, r.Delivery, health.Unhealthy, "no space left on device")
		r.journal.Before(nil)
		r.drain()
		r.wantTaken("a", "b", "c")
		wantHealth(t, r.Delivery, health.Healthy, "")
	})
}

// TestDeadLettersFail says that a refused record is not passed before it is in
// the dead letters.
func TestDeadLettersFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ context.Context, a deliverytest.Attempt) error {
			if i := slices.Index(a.Lines(), "b"); i >= 0 {
				return &delivery.PartialError{Refused: []delivery.Refusal{{Index: i, Reason: "bad"}}}
			}
			return nil
		}, nil)
		r.disk.Inject(vfstest.Fault{Op: vfstest.Write, Err: syscall.ENOSPC, Short: 5})
		log := lines("a", "b", "c", "d")
		reader := log.Read()
		r.start()
		r.give(reader.Next(3))
		synctest.Wait()
		r.give(reader.Next(1))
		time.Sleep(10 * time.Minute)
		r.wantTaken("a", "c")
		if got := r.cursor(log); !got.IsZero() {
			t.Errorf("cursor %+v, want none", got)
		}
		wantHealth(t, r.Delivery, health.Unhealthy, "no space left on device")
		r.disk.Heal()
		r.drain()
		r.wantTaken("a", "c", "d")
		if dead := r.deadLetters(); len(dead) != 1 || dead[0].Line != "b" {
			t.Errorf("dead letters %+v, want b", dead)
		}
		r.wantAccounts(delivery.Accounts{Accepted: 4, Acknowledged: 3, DeadLettered: 1})
	})
}

// TestEnd says how Run ends: with everything delivered after CloseInput, and at
// once with the context, when what is undelivered comes again.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := true
		r := newRig(t, func(context.Context, deliverytest.Attempt) error {
			if down {
				return errDown
			}
			return nil
		}, nil)
		log := lines("a", "b", "c")
		reader := log.Read()
		r.start()
		for b := reader.Next(1); b != nil; b = reader.Next(1) {
			r.give(b)
		}
		r.CloseInput()
		time.Sleep(time.Hour)
		if len(r.done) > 0 {
			t.Error("Run returned before everything was delivered")
		}
		r.stop()
		if keys := r.journal.Keys(); len(keys) != 0 {
			t.Errorf("the journal has %q of what was not delivered", keys)
		}
		r.wantAccounts(delivery.Accounts{Accepted: 3, InMemory: 3})

		down = false
		r.restart()
		r.give(log.Read().Next(3))
		r.drain()
		r.wantTaken("a", "b", "c")
	})
}

// TestAcknowledgedIsCommittedAtTheEnd says that what the destination took in the
// moment of the end is not taken again.
func TestAcknowledgedIsCommittedAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		r = newRig(t, func(context.Context, deliverytest.Attempt) error { r.cancel(); return nil }, nil)
		log := lines("a")
		r.start()
		r.give(log.Read().Next(1))
		if err := <-r.done; err != nil {
			t.Error(err)
		}
		if got := r.cursor(log).Total(); got != 1 {
			t.Errorf("cursor at %d, want 1", got)
		}
	})
}

// TestNothingIsAcceptedInVain says that an Enqueue that fails has changed
// nothing: the batch can come again, and the accounts add up.
func TestNothingIsAcceptedInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, func(o *delivery.Options) { o.WindowBytes = 3000 })
		log := lines("a", "b", "c")
		reader := log.Read()
		r.give(reader.Next(1)) // nobody delivers yet
		b := reader.Next(2)
		b.Append(record.Record{}, make([]byte, 5000))
		b.Records = b.Records[:2]
		if ok, err := r.TryEnqueue(b); ok || err != nil {
			t.Errorf("TryEnqueue to a full window = %v, %v", ok, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Enqueue(ctx, b); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Enqueue to a full window = %v", err)
		}
		r.wantAccounts(delivery.Accounts{Accepted: 1, InMemory: 1})
		r.start()
		r.give(b)
		r.drain()
		r.wantTaken("a", "b", "c")

		late := lines("a", "b", "c", "d").Read(r.cursor(log)).Next(1)
		if err := r.Enqueue(t.Context(), late); !errors.Is(err, queue.ErrClosed) {
			t.Errorf("Enqueue after CloseInput = %v, want ErrClosed", err)
		}
		r.wantAccounts(delivery.Accounts{Accepted: 3, Acknowledged: 3})
		late.Release()
		defer func() {
			if recover() == nil {
				t.Error("the batch that was not accepted is held by somebody")
			}
		}()
		late.Release()
	})
}

func wantHealth(t *testing.T, d *delivery.Delivery, status health.Status, reason string) {
	t.Helper()
	got := d.Health()
	if len(got) != 1 || got[0].Name != "sink/files" || got[0].Status != status || !strings.Contains(got[0].Reason, reason) ||
		(got[0].Reason == "") != (status == health.Healthy) {
		t.Errorf("health %+v, want %v because of %q", got, status, reason)
	}
}

// TestHealth says that a sink is degraded from its first failure, unhealthy
// after a minute of them, and healthy with the next success.
func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outage := time.Now().Add(2 * time.Minute)
		r := newRig(t, func(context.Context, deliverytest.Attempt) error {
			if time.Now().Before(outage) {
				return errDown
			}
			return nil
		}, nil)
		wantHealth(t, r.Delivery, health.Healthy, "")
		r.start()
		r.give(lines("a").Read().Next(1))
		synctest.Wait()
		wantHealth(t, r.Delivery, health.Degraded, "the destination is down")
		time.Sleep(59 * time.Second)
		wantHealth(t, r.Delivery, health.Degraded, "failing for 59s")
		time.Sleep(time.Second)
		wantHealth(t, r.Delivery, health.Unhealthy, "failing for 1m0s")
		r.drain()
		wantHealth(t, r.Delivery, health.Healthy, "")
	})
}

// TestHealthIsOfTheWorstRequest says that a request that always fails is not
// hidden by others that are delivered, nor by others that fail for less long.
func TestHealthIsOfTheWorstRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var allDown atomic.Bool
		r := newRig(t, func(_ context.Context, a deliverytest.Attempt) error {
			if allDown.Load() || a.Records[0].Source == "source 0" {
				return errDown
			}
			return nil
		}, func(o *delivery.Options) { o.Concurrency = 8 })
		r.start()
		for i := range 50 {
			r.give(recordtest.NewLog(fmt.Sprint("source ", i)).Fill(1).Read().Next(1))
			time.Sleep(10 * time.Second)
		}
		if n := len(r.destination.Taken()); n < 10 {
			t.Fatalf("only %d records of the others were taken", n)
		}
		wantHealth(t, r.Delivery, health.Unhealthy, "failing for 8m20s")
		allDown.Store(true)
		for i := range 50 {
			r.give(recordtest.NewLog(fmt.Sprint("another ", i)).Fill(1).Read().Next(1))
		}
		synctest.Wait()
		wantHealth(t, r.Delivery, health.Unhealthy, "failing for 8m20s")
		r.stop()
	})
}

// working is a destination with work of its own.
type working struct {
	*deliverytest.Destination
	run func(context.Context) error
}

func (w working) Run(ctx context.Context) error { return w.run(ctx) }

func TestSinkRunsBesideTheWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []string
		r := newRig(t, func(context.Context, deliverytest.Attempt) error {
			time.Sleep(time.Second)
			events = append(events, "sent")
			return nil
		}, func(o *delivery.Options) {
			o.Sink = working{o.Sink.(*deliverytest.Destination), func(ctx context.Context) error {
				<-ctx.Done()
				events = append(events, "ended")
				return ctx.Err()
			}}
		})
		r.start()
		r.give(lines("a").Read().Next(1))
		r.drain()
		if want := []string{"sent", "ended"}; !slices.Equal(events, want) {
			t.Errorf("events %q, want %q", events, want)
		}
	})
}

func TestSinkThatCannotGoOnEndsTheDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(context.Context, deliverytest.Attempt) error { return errDown }, func(o *delivery.Options) {
			o.Sink = working{o.Sink.(*deliverytest.Destination), func(context.Context) error {
				time.Sleep(time.Minute)
				return errors.New("no such directory")
			}}
		})
		r.start()
		r.give(lines("a").Read().Next(1))
		err := <-r.done
		r.cancel()
		if want := `run sink "files": no such directory`; err == nil || err.Error() != want {
			t.Errorf("Run = %v, want %q", err, want)
		}
	})
}
