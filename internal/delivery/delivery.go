// Package delivery takes batches to one destination, and is the only place that
// knows about retry, backoff, splitting, dead letters, concurrency and drain.
//
// A Delivery owns a sink's queue, its workers, its cursors and its accounts. It
// promises that
//   - a cursor moves past a record only when the destination has acknowledged
//     it or the dead-letter store holds it on disk;
//   - the records of one stream reach the sink in the order written, one request
//     after the other;
//   - accepted = acknowledged + in memory + dead-lettered, at every moment;
//   - what a sink has had is not given to it again: each sink has cursors of its
//     own, and after a restart skips what it is ahead of the others.
//
// How a destination is spoken to is the Sink's; which records come is the
// dispatcher's.
package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"log_capturer/internal/deadletter"
	"log_capturer/internal/lifetime"
	"log_capturer/internal/positions"
	"log_capturer/internal/queue"
	"log_capturer/internal/record"
)

// Journal is where cursors are kept. *positions.Journal is one.
type Journal interface {
	Get(key string) ([]byte, bool)
	// Commit makes all changes in one atomic step that a crash of the process
	// survives.
	Commit(changes ...positions.Change) error
}

// DeadLetters takes records that a destination refused for good.
// *deadletter.File is one.
type DeadLetters interface {
	// Append returns when the entries are on disk.
	Append(entries []deadletter.Entry) error
}

// Options say how a Delivery works. All fields are required.
type Options struct {
	// Name is the sink's name in metrics, health and the journal's keys.
	Name string
	// Sink makes the attempts.
	Sink Sink
	// Journal and DeadLetters take custody.
	Journal     Journal
	DeadLetters DeadLetters
	// WindowBytes bounds the memory of undelivered batches.
	WindowBytes int64
	// Concurrency is the number of workers, each with one request in flight.
	Concurrency int
	// BatchBytes, BatchRecords and Linger say when a request is made.
	BatchBytes, BatchRecords int
	Linger                   time.Duration
	// Timeout bounds one attempt.
	Timeout time.Duration
	// MinBackoff and MaxBackoff bound the pause between attempts, before
	// jitter.
	MinBackoff, MaxBackoff time.Duration
	Logger                 *slog.Logger
}

// Delivery delivers to one sink. Enqueue may be called from several goroutines
// at once, but from one goroutine for each source.
type Delivery struct {
	opts   Options
	window *queue.Window
	stats  *stats
	logger *slog.Logger

	mu sync.Mutex
	// cursors holds, for each source, what was accepted (in this process) and
	// what was committed (in the journal).
	cursors map[string]*sourceCursors
}

type sourceCursors struct {
	accepted, committed record.Cursor
	// enqueued is where the last records stand that were accepted in this
	// process. When they are committed, so is passed: behind them nothing came
	// that is for this sink.
	enqueued, passed record.Cursor
	// known says that the journal has the cursor. It may be the zero cursor, of
	// a sink that wants everything and has nothing yet.
	known bool
}

// New returns a Delivery. It starts nothing: Run does.
func New(opts Options) *Delivery {
	return &Delivery{
		opts:    opts,
		window:  queue.NewWindow(opts.WindowBytes, opts.Concurrency),
		stats:   newStats(opts.Name, opts.WindowBytes, opts.Concurrency),
		logger:  opts.Logger.With("sink", opts.Name),
		cursors: map[string]*sourceCursors{},
	}
}

// Name returns the sink's name.
func (d *Delivery) Name() string { return d.opts.Name }

// CursorPrefix begins the journal's keys of cursors. The sink's name and the
// source's key follow, with a slash between them.
const CursorPrefix = "cursor/"

// cursorKey is the journal's key for a source's cursor at a sink.
func cursorKey(sink, source string) string { return CursorPrefix + sink + "/" + source }

// Cursor returns the committed cursor of a source, and false for a source that
// is new to this sink. The zero cursor with true is that of a sink that waits
// for the source's first record.
func (d *Delivery) Cursor(source string) (record.Cursor, bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, err := d.sourceCursors(source)
	if err != nil {
		return record.Cursor{}, false, err
	}
	return c.committed, c.known, nil
}

// StartAt sets the cursor of a source that is new to this sink, and does nothing
// for another one. It is called before the source's first batch: a sink whose
// destination is down from the start must not be taken for a new one later, when
// the other sinks are further.
func (d *Delivery) StartAt(source string, at record.Cursor) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, err := d.sourceCursors(source)
	if err != nil || c.known {
		return err
	}
	if err := d.opts.Journal.Commit(d.cursorChange(source, at)); err != nil {
		return fmt.Errorf("write position of %q for sink %q: %w", source, d.opts.Name, err)
	}
	c.accepted, c.committed, c.known = at, at, true
	return nil
}

func (d *Delivery) cursorChange(source string, at record.Cursor) positions.Change {
	value, _ := at.AppendBinary(nil) // never fails
	return positions.Change{Key: cursorKey(d.opts.Name, source), Value: value}
}

// sourceCursors returns the entry of source, made from the journal when it is
// new. The caller holds d.mu.
func (d *Delivery) sourceCursors(source string) (*sourceCursors, error) {
	if c := d.cursors[source]; c != nil {
		return c, nil
	}
	c := &sourceCursors{}
	if value, ok := d.opts.Journal.Get(cursorKey(d.opts.Name, source)); ok {
		if err := c.committed.UnmarshalBinary(value); err != nil {
			return nil, fmt.Errorf("read position of %q for sink %q: %w", source, d.opts.Name, err)
		}
		c.accepted, c.known = c.committed, true
	}
	d.cursors[source] = c
	return c, nil
}

// Forget removes a source that will not come again.
func (d *Delivery) Forget(source string) error {
	d.mu.Lock()
	delete(d.cursors, source)
	d.mu.Unlock()
	return d.opts.Journal.Commit(positions.Change{Key: cursorKey(d.opts.Name, source)})
}

// Enqueue accepts a batch, and holds it as long as it needs it. It blocks while
// the window is full, until ctx is done; then nothing was accepted.
func (d *Delivery) Enqueue(ctx context.Context, b *record.Batch) error {
	it, wanted, err := d.trimmed(b)
	if err != nil || wanted == 0 {
		return err
	}
	if err := d.window.Reserve(ctx, &it); err != nil {
		return err
	}
	return d.accept(it, wanted)
}

// TryEnqueue is Enqueue that answers false instead of blocking.
func (d *Delivery) TryEnqueue(b *record.Batch) (bool, error) {
	it, wanted, err := d.trimmed(b)
	if err != nil || wanted == 0 {
		return err == nil, err
	}
	if !d.window.TryReserve(&it) {
		return false, nil
	}
	return true, d.accept(it, wanted)
}

// accept takes in an item that has room.
func (d *Delivery) accept(it queue.Item, wanted int) error {
	b := it.Batch
	b.Retain(1)
	d.stats.accept(wanted, b.Memory())
	if err := d.window.Append(it); err != nil {
		d.stats.refuse(wanted, b.Memory())
		b.Release()
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.cursors[b.Source.Key]; c != nil {
		c.accepted.Advance(b.To, record.AllStreams)
		c.enqueued.Advance(b.To, b.Streams)
	}
	return nil
}

// Pass moves past records of a source that were dropped or are for other sinks:
// those that lie between the records that were accepted and the given cursor.
// The sink's cursor moves when what was accepted is delivered.
func (d *Delivery) Pass(source string, to record.Cursor) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, err := d.sourceCursors(source)
	if err != nil {
		return err
	}
	c.accepted.Advance(to, record.AllStreams)
	c.passed = c.accepted
	if !c.committed.Reaches(c.enqueued) {
		return nil // committed with what is under way
	}
	committed := c.committed
	committed.Advance(c.passed, record.AllStreams)
	if committed == c.committed {
		return nil
	}
	if err := d.opts.Journal.Commit(d.cursorChange(source, committed)); err != nil {
		return fmt.Errorf("write position of %q for sink %q: %w", source, d.opts.Name, err)
	}
	c.committed, c.known = committed, true
	return nil
}

// trimmed returns b without the records that the sink has already, and the
// number of those that are left.
func (d *Delivery) trimmed(b *record.Batch) (queue.Item, int, error) {
	d.mu.Lock()
	c, err := d.sourceCursors(b.Source.Key)
	if err != nil {
		d.mu.Unlock()
		return queue.Item{}, 0, err
	}
	accepted := c.accepted
	d.mu.Unlock()
	it, wanted := trim(b, accepted)
	return it, wanted, nil
}

// trim leaves out what lies before the accepted cursor, and returns the number
// of records that are left.
func trim(b *record.Batch, accepted record.Cursor) (queue.Item, int) {
	it := queue.Item{Batch: b}
	var skip [record.NumStreams]uint64
	skipping := false
	for s := range skip {
		if have, from := accepted.Streams[s].Seq, b.From.Streams[s].Seq; have > from {
			skip[s], skipping = have-from, true
		}
	}
	if !skipping {
		return it, len(b.Records)
	}
	wanted := 0
	for i := range b.Records {
		s := b.Records[i].Stream
		// A derived record stands for any number of records, of which the sink
		// has all or none.
		if d := b.Derivation(&b.Records[i]); d != nil {
			skip[s] = 0
			if d.Origin.Seq <= accepted.Streams[s].Seq {
				skip[s] = 1
			}
		}
		if skip[s] > 0 {
			skip[s]--
			it.Start[s] = i + 1
			continue
		}
		wanted++
	}
	return it, wanted
}

// CloseInput ends the accepting. Run returns when what was accepted is
// delivered.
func (d *Delivery) CloseInput() { d.window.Close() }

// Run delivers until CloseInput was called and everything is delivered, or
// until ctx is done; then what is undelivered stays in the source's custody. It
// runs the sink's own Run beside the workers.
func (d *Delivery) Run(ctx context.Context) error {
	component := "sink"
	sinkGroup := lifetime.NewGroup(ctx)
	if starter, ok := d.opts.Sink.(Starter); ok {
		sinkGroup.Go(component, starter.Run)
	}
	workers := lifetime.NewGroup(sinkGroup.Context())
	for i := range d.opts.Concurrency {
		w := &worker{Delivery: d, shard: i}
		workers.Go("delivery", w.run)
	}
	err := workers.Wait()
	sinkGroup.Cancel()
	if sinkErr := sinkGroup.Wait(); sinkErr != nil && !errors.Is(sinkErr, context.Canceled) {
		err = fmt.Errorf("run sink %q: %w", d.opts.Name, sinkErr)
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
