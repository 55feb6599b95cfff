package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"log_capturer/internal/deadletter"
	"log_capturer/internal/delivery"
	"log_capturer/internal/delivery/deliverytest"
	"log_capturer/internal/record"
	"log_capturer/internal/record/recordtest"
	"log_capturer/internal/vfs/vfstest"
)

// replaying is a delivery whose destination refuses or is down as the test says,
// with a store of dead letters, and a replayer.
type replaying struct {
	*rig
	store        *deadletter.Store
	replayer     *deadletter.Replayer
	refuse, down atomic.Bool
	end          context.CancelFunc
	ended        chan error
}

func newReplaying(t *testing.T) *replaying {
	r := &replaying{}
	r.rig = newRig(t, func(_ context.Context, a deliverytest.Attempt) error {
		if r.down.Load() {
			return errDown
		}
		if !r.refuse.Load() {
			return nil
		}
		refused := &delivery.PartialError{}
		for i := range a.Records {
			refused.Refused = append(refused.Refused, delivery.Refusal{Index: i, Reason: "bad", Detail: "no"})
		}
		return refused
	}, nil)
	r.openStore()
	r.opts.DeadLetters = r.store
	r.Delivery = delivery.New(r.opts)
	r.rig.start()
	r.begin(r)
	return r
}

func (r *replaying) openStore() {
	r.t.Helper()
	var err error
	r.store, err = deadletter.OpenStore("/letters", deadletter.Options{FS: r.disk, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		r.t.Fatal(err)
	}
}

// begin starts a replayer with these targets.
func (r *replaying) begin(targets ...deadletter.Target) {
	r.t.Helper()
	var err error
	r.replayer, err = deadletter.NewReplayer(r.store, r.journal, delivery.CursorPrefix, targets, slog.New(slog.DiscardHandler))
	if err != nil {
		r.t.Fatal(err)
	}
	var ctx context.Context
	ctx, r.end = context.WithCancel(context.Background())
	r.ended = make(chan error, 1)
	replayer, ended := r.replayer, r.ended
	go func() { ended <- replayer.Run(ctx) }()
}

func (r *replaying) finish() {
	r.end()
	<-r.ended
	r.rig.stop()
	r.store.Close()
}

// refuseAll makes dead letters of logs.
func (r *replaying) refuseAll(all ...*recordtest.Log) {
	r.t.Helper()
	r.refuse.Store(true)
	n := 0
	for _, log := range all {
		for reader := log.Read(); ; {
			b := reader.Next(7)
			if b == nil {
				break
			}
			n += len(b.Records)
			r.give(b)
		}
	}
	time.Sleep(time.Minute)
	if got := len(r.store.IDs(deadletter.Selection{})); got != n {
		r.t.Fatalf("%d dead letters, want %d", got, n)
	}
	r.refuse.Store(false)
}

func (r *replaying) ask(o deadletter.Order, want int) {
	r.t.Helper()
	if n, err := r.replayer.Ask(o); n != want || err != nil {
		r.t.Fatalf("Ask = %d, %v, want %d", n, err, want)
	}
}

func (r *replaying) wantKeys() {
	r.t.Helper()
	for _, key := range r.journal.Keys() {
		if strings.Contains(key, "replay") {
			r.t.Errorf("the journal still has %q", key)
		}
	}
}

// Letters are delivered as their records were, each source in its order, and
// removed.
func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplaying(t)
		all := logs(3, 400)
		r.refuseAll(all...)
		r.ask(deadletter.Order{}, 1200)
		time.Sleep(time.Minute)
		if s := r.replayer.State(); s.Running || s.Accepted != 1200 || s.Error != "" {
			t.Errorf("state %+v", s)
		}
		if n := len(r.store.IDs(deadletter.Selection{})); n != 0 {
			t.Errorf("%d letters are left", n)
		}
		for _, log := range all {
			for s := range record.Stream(record.NumStreams) {
				var got []string
				for _, taken := range r.destination.Taken() {
					if strings.HasSuffix(taken.Source, "/"+log.Source.Key) && taken.Stream == s {
						got = append(got, taken.Line)
					}
				}
				if !slices.Equal(got, log.Lines(s)) {
					t.Errorf("%s %v: %d lines came, want %d", log.Source.Key, s, len(got), len(log.Lines(s)))
				}
			}
		}
		r.wantKeys()
		r.finish()
	})
}

// What is refused again is kept anew; what was not selected stays.
func TestReplayRefusedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplaying(t)
		r.refuseAll(logs(1, 10)[0])
		r.refuse.Store(true)
		r.ask(deadletter.Order{Selection: deadletter.Selection{IDs: []uint64{2, 3, 4}}}, 3)
		time.Sleep(time.Minute)
		want := []uint64{0, 1, 5, 6, 7, 8, 9, 10, 11, 12}
		if ids := r.store.IDs(deadletter.Selection{}); !slices.Equal(ids, want) {
			t.Errorf("letters %v, want %v", ids, want)
		}
		letters, err := r.store.Read([]uint64{10})
		if err != nil {
			t.Fatal(err)
		}
		if e, err := letters[0].Entry(); err != nil || e.Source.Key != "container/0" {
			t.Errorf("%v, source %q", err, e.Source.Key)
		}
		if got := r.destination.TakenLines(); len(got) != 0 {
			t.Errorf("taken %q", got)
		}
		r.finish()
	})
}

// A replay that the agent's end cuts off while the destination is down has
// removed nothing, and can be asked for again.
func TestReplayCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplaying(t)
		log := logs(1, 100)[0]
		r.refuseAll(log)
		r.down.Store(true)
		r.ask(deadletter.Order{}, 100)
		if _, err := r.replayer.Ask(deadletter.Order{}); !errors.Is(err, deadletter.ErrBusy) {
			t.Errorf("a second replay: %v", err)
		}
		time.Sleep(time.Minute)
		r.finish()
		r.openStore()
		r.opts.DeadLetters = r.store
		r.Delivery = delivery.New(r.opts)
		r.rig.start()
		r.begin(r)
		if n := len(r.store.IDs(deadletter.Selection{})); n != 100 {
			t.Errorf("%d letters are left, want 100", n)
		}
		r.down.Store(false)
		r.ask(deadletter.Order{}, 100)
		time.Sleep(time.Minute)
		if n, got := len(r.store.IDs(deadletter.Selection{})), len(r.destination.TakenLines()); n != 0 || got != 100 {
			t.Errorf("%d letters are left, %d lines taken", n, got)
		}
		r.wantKeys()
		r.finish()
	})
}

// What was accepted before the agent was killed is removed at the next start, and
// not delivered again, also when its sink is not there any more.
func TestReplayKilledBeforeRemoval(t *testing.T) {
	for _, configured := range []bool{true, false} {
		t.Run(fmt.Sprint(configured), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newReplaying(t)
				r.refuseAll(logs(1, 50)[0])
				r.disk.Inject(vfstest.Fault{Op: vfstest.Open, Match: "*.removed", Err: syscall.EIO})
				r.ask(deadletter.Order{}, 50)
				time.Sleep(time.Minute)
				if s := r.replayer.State(); s.Error == "" {
					t.Errorf("state %+v", s)
				}
				r.finish()
				r.disk.Heal()
				r.openStore()
				r.opts.DeadLetters = r.store
				r.Delivery = delivery.New(r.opts)
				r.rig.start()
				if configured {
					r.begin(r)
				} else {
					r.begin()
				}
				if n, got := len(r.store.IDs(deadletter.Selection{})), len(r.destination.TakenLines()); n != 0 || got != 50 {
					t.Errorf("%d letters are left, %d lines taken", n, got)
				}
				r.wantKeys()
				r.finish()
			})
		})
	}
}

// A letter whose sink is gone stays, unless another one is named.
func TestReplayToAnotherSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplaying(t)
		e := deadletter.Entry{Time: time.Now(), Sink: "gone", Reason: "bad", Source: &record.Source{Key: "container/x"}, Line: []byte("a")}
		if err := r.store.Append([]deadletter.Entry{e}); err != nil {
			t.Fatal(err)
		}
		r.ask(deadletter.Order{}, 1)
		time.Sleep(time.Minute)
		if s := r.replayer.State(); !strings.Contains(s.Error, `"gone"`) || len(r.store.IDs(deadletter.Selection{})) != 1 {
			t.Errorf("state %+v", s)
		}
		if _, err := r.replayer.Ask(deadletter.Order{To: "nowhere"}); err == nil {
			t.Error("a sink that there is not is taken")
		}
		r.ask(deadletter.Order{To: "files"}, 1)
		time.Sleep(time.Minute)
		if len(r.store.IDs(deadletter.Selection{})) != 0 {
			t.Error("the letter is still there")
		}
		r.wantTaken("a")
		r.finish()
	})
}
