// Package delivery takes batches to one destination, and is the only place that
// knows about retry, backoff, splitting, dead letters, concurrency and drain.
//
// A Delivery owns a sink's queue, its workers, its cursors and its accounts. It
// promises that
//   - a cursor moves past a record only when the destination has acknowledged
//     it, or the spool or the dead-letter store holds it on disk;
//   - the records of one stream reach the sink in the order written, one request
//     after the other;
//   - accepted = acknowledged + in memory + spooled + dead-lettered + dropped,
//     at every moment;
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
	"sync/atomic"
	"time"

	"log_capturer/internal/deadletter"
	"log_capturer/internal/lifetime"
	"log_capturer/internal/limit"
	"log_capturer/internal/positions"
	"log_capturer/internal/queue"
	"log_capturer/internal/record"
	"log_capturer/internal/spool"
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
	// Limit is how much the destination is given in a second; the zero Rate sets
	// no limit. It is the one field that is not required.
	Limit limit.Rate
	// MinBackoff and MaxBackoff bound the pause between attempts, before
	// jitter.
	MinBackoff, MaxBackoff time.Duration
	Logger                 *slog.Logger
}

// Delivery delivers to one sink. Enqueue may be called from several goroutines
// at once, but from one goroutine for each source.
type Delivery struct {
	// opts are those of the start: the name, the journal, the dead letters and the
	// logger stay, all else is the shift's.
	opts   Options
	window *queue.Window
	stats  *stats
	logger *slog.Logger

	// shift is the present one.
	shift  atomic.Pointer[shift]
	shifts shifts
	// inside are the calls that take records in.
	inside lifetime.Tally

	// overflow is nil for a sink without a spool.
	overflow *overflow

	mu sync.Mutex
	// cursors holds, for each source, what was accepted (in this process) and
	// what was committed (in the journal).
	cursors map[string]*sourceCursors
	// tickets holds those of the batches in memory, for a sink with a spool.
	tickets map[*record.Batch]*ticket
	// direct counts what moves cursors without the spool.
	direct uint64
}

// sourceCursors is what is known of a source. It is guarded by Delivery.mu.
type sourceCursors struct {
	accepted, committed record.Cursor
	// enqueued is where the last records stand that were accepted in this
	// process. When they are committed, so is passed: behind them nothing came
	// that is for this sink.
	enqueued, passed record.Cursor
	// delivered is what the destination has, where split is set; else it is
	// committed.
	delivered record.Cursor
	split     bool
	// held are the batches that are in memory alone, oldest first; pending is
	// the number of entries on their way to the spool, last the last of them;
	// direct is Delivery.direct when that last moved the source's, or was to be
	// waited for.
	held    []*ticket
	pending int
	last    *spool.Entry
	direct  uint64
	// known says that the journal has the cursor. It may be the zero cursor, of
	// a sink that wants everything and has nothing yet.
	known bool
}

// New returns a Delivery. It starts nothing: Run does.
func New(opts Options) *Delivery {
	d := &Delivery{
		opts:    opts,
		window:  queue.NewWindow(opts.WindowBytes, opts.Concurrency),
		stats:   newStats(opts.Name, opts.WindowBytes, opts.Concurrency),
		logger:  opts.Logger.With("sink", opts.Name),
		cursors: map[string]*sourceCursors{},
	}
	d.shift.Store(newShift(opts))
	d.shifts.over = make(chan struct{})
	return d
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

// Accepted returns up to where the records of a source were accepted, and false
// where none were.
func (d *Delivery) Accepted(source string) (record.Cursor, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, err := d.sourceCursors(source)
	if err != nil || !c.known && c.accepted.IsZero() {
		return record.Cursor{}, false
	}
	return c.accepted, true
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
	d.direct++
	c.accepted, c.committed, c.known, c.direct = at, at, true, d.direct
	return nil
}

// DurableFirst lets the spool take nothing of a source before what the journal
// holds now is durable. It is called when some sinks were set to where the source
// begins: had one taken the source's first records by itself, the others would
// look new to the source after a loss of power, and begin behind them.
func (d *Delivery) DurableFirst(source string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, err := d.sourceCursors(source)
	if err != nil {
		return err
	}
	d.direct++
	c.direct = d.direct
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
		// An earlier run may have ended before its deliveries were durable.
		c.accepted, c.known, c.direct = c.committed, true, d.direct
	}
	if value, ok := d.opts.Journal.Get(deliveredKey(d.opts.Name, source)); ok {
		if err := c.delivered.UnmarshalBinary(value); err != nil {
			return nil, fmt.Errorf("read what was delivered of %q to sink %q: %w", source, d.opts.Name, err)
		}
		c.split = true
	}
	d.cursors[source] = c
	return c, nil
}

// Forget removes a source that will not come again. While the spool may hold
// something of it, its cursors are needed, and removed when that is delivered.
func (d *Delivery) Forget(source string) error {
	if o := d.overflow; o != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		if len(o.pending) > 0 || o.Spool.Stats().Segments > 0 {
			o.forgotten[source] = true
			return nil
		}
	}
	return d.forget(source)
}

func (d *Delivery) forget(source string) error {
	d.mu.Lock()
	delete(d.cursors, source)
	d.mu.Unlock()
	return d.opts.Journal.Commit(positions.Change{Key: cursorKey(d.opts.Name, source)},
		positions.Change{Key: deliveredKey(d.opts.Name, source)})
}

// Enqueue accepts a batch, and holds it as long as it needs it. It blocks while
// the window is full, or with a spool while that is, until ctx is done or the
// input is closed; then nothing was accepted.
func (d *Delivery) Enqueue(ctx context.Context, b *record.Batch) error {
	d.inside.Add()
	defer d.inside.Done()
	if d.overflow != nil {
		return d.overflow.enqueue(ctx, b)
	}
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
	d.inside.Add()
	defer d.inside.Done()
	if d.overflow != nil {
		return d.overflow.tryEnqueue(b)
	}
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
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.cursors[b.Source.Key]
	if d.overflow != nil && c != nil {
		t := &ticket{item: it, wanted: wanted, undelivered: wanted}
		d.tickets[b] = t
		c.held = append(c.held, t)
	}
	if err := d.window.Append(it); err != nil {
		if d.overflow != nil && c != nil {
			c.release(d.tickets[b])
			delete(d.tickets, b)
		}
		d.stats.refuse(wanted, b.Memory())
		b.Release()
		return err
	}
	if c != nil {
		c.accepted.Advance(b.To, record.AllStreams)
		c.enqueued.Advance(b.To, b.Streams)
	}
	return nil
}

// Pass moves past records of a source that were dropped or are for other sinks:
// those that lie between the records that were accepted and the given cursor.
// The sink's cursor moves when what was accepted is delivered. It does not when
// the input is closed, which may have kept records out.
func (d *Delivery) Pass(source string, to record.Cursor) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isClosed() {
		return nil
	}
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
	d.direct++
	c.committed, c.known, c.direct = committed, true, d.direct
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
	it, wanted := trim(b, [record.NumStreams]int{}, accepted)
	return it, wanted, nil
}

// trim leaves out what lies before a cursor, and before start, and returns the
// number of records that are left.
func trim(b *record.Batch, start [record.NumStreams]int, has record.Cursor) (queue.Item, int) {
	it := queue.Item{Batch: b, Start: start}
	var skip [record.NumStreams]uint64
	skipping := start != [record.NumStreams]int{}
	for s := range skip {
		if have, from := has.Streams[s].Seq, b.From.Streams[s].Seq; have > from {
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
			if d.Origin.Seq <= has.Streams[s].Seq {
				skip[s] = 1
			}
		}
		if skip[s] > 0 {
			skip[s]--
			it.Start[s] = max(it.Start[s], i+1)
		} else if i >= it.Start[s] {
			wanted++
		}
	}
	return it, wanted
}

// CloseInput ends the accepting: who waits to bring more gets queue.ErrClosed. Run
// returns when what was accepted is delivered.
func (d *Delivery) CloseInput() { d.window.Close() }

// isClosed reports whether CloseInput was called.
func (d *Delivery) isClosed() bool {
	select {
	case <-d.window.Closed():
		return true
	default:
		return false
	}
}

// Run delivers until CloseInput was called and everything is delivered, or
// until ctx is done; then what is undelivered stays in the source's custody. It
// runs the sink's own Run beside the workers.
func (d *Delivery) Run(ctx context.Context) error {
	defer close(d.shifts.over)
	working, endWork := context.WithCancel(ctx)
	defer endWork()
	refilling := lifetime.NewGroup(working)
	if d.overflow != nil {
		refilling.Go("spool", func(ctx context.Context) error { return d.overflow.run(ctx, endWork) })
	}
	err := d.work(working)
	refilling.Cancel()
	if refillErr := refilling.Wait(); err == nil {
		err = refillErr
	}
	if d.isClosed() {
		// Those that the close has woken are on their way out.
		d.inside.Wait(insidePatience)
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// insidePatience is how long those who bring records may take to notice that the
// input is closed. They do so at once, unless they are writing to the spool.
const insidePatience = 10 * time.Second
