package delivery_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"log_capturer/internal/deadletter"
	"log_capturer/internal/delivery"
	"log_capturer/internal/delivery/deliverytest"
	"log_capturer/internal/record"
	"log_capturer/internal/record/recordtest"
	"log_capturer/internal/vfs/vfstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const deadLetterPath = "/dead_letters.jsonl"

var errDown = errors.New("the destination is down")

// rig is a Delivery between a journal, a destination and dead letters on a
// simulated disk, which all outlive it.
type rig struct {
	*delivery.Delivery
	t           testing.TB
	journal     *deliverytest.Journal
	destination *deliverytest.Destination
	disk        *vfstest.Disk
	dead        *deadletter.File
	opts        delivery.Options
	cancel      context.CancelFunc
	done        chan error
}

// newRig returns a rig with a delivery that is not running.
func newRig(t testing.TB, answer func(context.Context, deliverytest.Attempt) error, change func(*delivery.Options)) *rig {
	t.Helper()
	r := &rig{
		t: t, journal: deliverytest.NewJournal(), disk: vfstest.NewDisk(),
		destination: &deliverytest.Destination{Answer: answer},
	}
	var err error
	if r.dead, err = deadletter.OpenFS(r.disk, deadLetterPath); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.dead.Close() })
	r.opts = delivery.Options{
		Name: "files", Sink: r.destination, Journal: r.journal, DeadLetters: r.dead,
		WindowBytes: 1 << 20, Concurrency: 1, BatchBytes: 1 << 20, BatchRecords: 1000,
		Timeout: 10 * time.Second, MinBackoff: time.Second, MaxBackoff: 30 * time.Second,
		Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&r.opts)
	}
	r.Delivery = delivery.New(r.opts)
	return r
}

// start runs the delivery.
func (r *rig) start() {
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(context.Background())
	r.done = make(chan error, 1)
	d, done := r.Delivery, r.done
	go func() { done <- d.Run(ctx) }()
}

// drain ends the delivery when everything is delivered.
func (r *rig) drain() {
	r.t.Helper()
	r.CloseInput()
	if err := <-r.done; err != nil {
		r.t.Errorf("Run = %v", err)
	}
	r.cancel()
}

// stop ends the delivery at once.
func (r *rig) stop() {
	r.t.Helper()
	r.cancel()
	if err := <-r.done; err != nil {
		r.t.Errorf("Run = %v", err)
	}
}

// restart puts a new delivery in the place of one that has ended.
func (r *rig) restart() {
	r.Delivery = delivery.New(r.opts)
	r.start()
}

// give enqueues a batch and ends the caller's hold of it.
func (r *rig) give(b *record.Batch) {
	r.t.Helper()
	defer b.Release()
	if err := r.Enqueue(context.Background(), b); err != nil {
		r.t.Errorf("Enqueue = %v", err)
	}
}

// cursor returns the journal's cursor of a log.
func (r *rig) cursor(log *recordtest.Log) record.Cursor {
	r.t.Helper()
	value, ok := r.journal.Get("cursor/files/" + log.Source.Key)
	if !ok {
		return record.Cursor{}
	}
	c := deliverytest.Cursor(value)
	if err := log.Check(c); err != nil {
		r.t.Errorf("the journal's cursor is wrong: %v", err)
	}
	return c
}

// refused is a dead letter.
type refused struct {
	Sink, Reason, Detail, Source, Stream, Line string
}

// deadLetters returns what the dead-letter file holds.
func (r *rig) deadLetters() []refused {
	r.t.Helper()
	file, err := r.disk.OpenFile(deadLetterPath, os.O_RDONLY, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	defer file.Close()
	content, err := io.ReadAll(file)
	if err != nil {
		r.t.Fatal(err)
	}
	var all []refused
	for decoder := json.NewDecoder(bytes.NewReader(content)); ; {
		var one refused
		if err := decoder.Decode(&one); err == io.EOF {
			return all
		} else if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, one)
	}
}

func (r *rig) wantTaken(want ...string) {
	r.t.Helper()
	if got := r.destination.TakenLines(); !slices.Equal(got, want) {
		r.t.Errorf("the destination has taken\n%q, want\n%q", got, want)
	}
}

func (r *rig) wantAccounts(want delivery.Accounts) {
	r.t.Helper()
	if got := r.Accounts(); got != want {
		r.t.Errorf("accounts %+v, want %+v", got, want)
	}
}

// lines returns a log with the given lines on stdout.
func lines(lines ...string) *recordtest.Log {
	log := recordtest.NewLog("container/a")
	for i, line := range lines {
		log.Write(record.Stdout, int64(i+1), line)
	}
	return log
}
