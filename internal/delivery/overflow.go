package delivery

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"log_capturer/internal/positions"
	"log_capturer/internal/queue"
	"log_capturer/internal/record"
	"log_capturer/internal/spool"
)

// SpoolOptions say how a Delivery uses a spool.
type SpoolOptions struct {
	// Spool is open, and stays the caller's to close.
	Spool *spool.Spool
	// SyncJournal makes durable what the journal holds.
	SyncJournal func() error
	// EmptyOnly says that nothing more goes into the spool: it was turned off,
	// and what it holds is delivered before anything else.
	EmptyOnly bool
	// DropOldest says that a full spool gives up its oldest records. Without it
	// whoever brings more waits.
	DropOldest bool
}

// overflow takes the batches that the window has no room for to the spool, and
// from there back to the window.
//
// While the spool holds records that are not in memory, every batch goes through
// it. A batch that goes there is preceded by those of its source that are in
// memory alone, since the source's cursor then moves past all of them.
//
// There are two cursors for a source of which the spool holds something. The
// committed one says what is in custody, and is where the source is read from.
// The delivered one says what the destination has.
type overflow struct {
	*Delivery
	SpoolOptions
	// What of the options may change.
	emptyOnly, dropOldest atomic.Bool

	// flushing is held by the one that makes pending entries durable, for all
	// who wait. It is taken before mu, and mu before Delivery.mu.
	flushing sync.Mutex

	// mu makes one step of asking where a batch goes and putting it there.
	mu sync.Mutex
	// pending are the entries that are written and not settled, oldest first.
	pending []*pending
	// synced is the last direct delivery (see sourceCursors.direct) that the
	// journal is known to hold durably.
	synced uint64
	// loaded is a batch that was read from the spool and waits for room.
	loaded *ticket
	// forgotten are the sources that will not come again and of which the spool
	// may hold something.
	forgotten map[string]bool

	changed  broadcast
	blocked  atomic.Int64 // batches that wait for the full spool
	trouble  atomic.Pointer[string]
	failures atomic.Int64
}

// pending is an entry that is written and not yet settled.
type pending struct {
	entry  *spool.Entry
	source string
	to     record.Cursor
	// ticket is that of the batch in memory, nil for a batch that was not
	// accepted before.
	ticket *ticket
	// done is set when the entry was settled or is void; then err says which.
	done bool
	err  error
}

// ticket says who has custody of an accepted batch that is in memory. It is
// guarded by Delivery.mu.
type ticket struct {
	item queue.Item
	// wanted is the number of the batch's records that were accepted,
	// undelivered how many of them are not committed.
	wanted, undelivered int
	// entry is the spool's, nil while the source has custody.
	entry *spool.Entry
	// storing says that the batch is on its way to the spool, finished that it
	// has left the window meanwhile.
	storing, finished bool
}

// Keys of the journal. SpoolPrefix and the sink's name hold the number up to
// which the spool's entries are in custody; DeliveredPrefix, the sink's name and
// the source's key hold what was delivered of a source whose cursor is further.
const (
	SpoolPrefix     = "spool/"
	DeliveredPrefix = "delivered/"
)

func deliveredKey(sink, source string) string { return DeliveredPrefix + sink + "/" + source }

// SpoolCommitted returns the number up to which a sink's spool is in custody,
// for spool.Options.
func SpoolCommitted(j Journal, sink string) uint64 {
	if value, ok := j.Get(SpoolPrefix + sink); ok && len(value) == 8 {
		return binary.LittleEndian.Uint64(value)
	}
	return 0
}

func spoolChange(sink string, end uint64) positions.Change {
	return positions.Change{Key: SpoolPrefix + sink, Value: binary.LittleEndian.AppendUint64(nil, end)}
}

// UseSpool gives the delivery a spool, before anything else is done with it. The
// cursors move past what the spool holds and the journal does not know of.
func (d *Delivery) UseSpool(opts SpoolOptions) error {
	o := &overflow{Delivery: d, SpoolOptions: opts, forgotten: map[string]bool{}}
	o.changed.channel = make(chan struct{})
	o.emptyOnly.Store(opts.EmptyOnly)
	o.dropOldest.Store(opts.DropOldest)
	d.tickets, d.direct = map[*record.Batch]*ticket{}, 1
	committed := SpoolCommitted(d.opts.Journal, d.opts.Name)
	d.mu.Lock()
	defer d.mu.Unlock()
	var failed error
	moved := map[string]record.Cursor{}
	err := opts.Spool.Uncommitted(committed, func(b *record.Batch) {
		c, err := d.sourceCursors(b.Source.Key)
		if err != nil {
			failed = err
			return
		}
		to, ok := moved[b.Source.Key]
		if !ok {
			to = c.committed
		}
		to.Advance(b.To, record.AllStreams)
		moved[b.Source.Key] = to
	})
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("take over the spool: %w", err)
	}
	var changes []positions.Change
	for source, to := range moved {
		changes = append(changes, d.spooledChanges(source, d.cursors[source], to)...)
	}
	if len(changes) > 0 {
		changes = append(changes, spoolChange(d.opts.Name, opts.Spool.End()))
		if err := d.opts.Journal.Commit(changes...); err != nil {
			return fmt.Errorf("take over the spool: %w", err)
		}
	}
	for source, to := range moved {
		d.cursors[source].spooled(to)
	}
	d.stats.recovered(opts.Spool.Recovery().Records)
	d.overflow = o
	return nil
}

// ChangeSpool has the spool used in another way, and bounded by maxBytes. The
// delivery has one, or it can't be given one any more: then it returns false.
func (d *Delivery) ChangeSpool(maxBytes int64, emptyOnly, dropOldest bool) bool {
	o := d.overflow
	if o == nil {
		return false
	}
	o.Spool.Resize(maxBytes)
	o.emptyOnly.Store(emptyOnly)
	o.dropOldest.Store(dropOldest)
	o.changed.signal() // to those who wait for room
	return true
}

// backoff returns the pause after a failure of the spool.
func (o *overflow) backoff(failures int) time.Duration {
	opts := &o.shift.Load().opts
	return backoff(failures, opts.MinBackoff, opts.MaxBackoff, 0)
}

// spooledChanges returns what the journal has to hold when the custody of a
// source moves on to a cursor.
func (d *Delivery) spooledChanges(source string, c *sourceCursors, to record.Cursor) []positions.Change {
	changes := []positions.Change{d.cursorChange(source, to)}
	if !c.split {
		value, _ := c.committed.AppendBinary(nil) // never fails
		changes = append(changes, positions.Change{Key: deliveredKey(d.opts.Name, source), Value: value})
	}
	return changes
}

// spooled moves the custody to a cursor.
func (c *sourceCursors) spooled(to record.Cursor) {
	if !c.split {
		c.delivered, c.split = c.committed, true
	}
	c.committed, c.known = to, true
	c.accepted.Advance(to, record.AllStreams)
	c.enqueued.Advance(to, record.AllStreams)
}

// tryEnqueue accepts a batch into memory, if order and room allow it.
func (o *overflow) tryEnqueue(b *record.Batch) (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.pendingOf(b.Source.Key) > 0 {
		return false, nil
	}
	it, wanted, err := o.trimmed(b)
	if err != nil || wanted == 0 {
		return err == nil, err
	}
	if o.loaded != nil || o.Spool.Unread() > 0 || !o.window.TryReserve(&it) {
		return false, nil
	}
	return true, o.accept(it, wanted)
}

// enqueue accepts a batch into memory or into the spool. It waits only for a
// spool that is full or fails.
func (o *overflow) enqueue(ctx context.Context, b *record.Batch) error {
	for failures := 0; ; {
		changed := o.changed.wait()
		if o.isClosed() {
			return queue.ErrClosed
		}
		// A batch of this source may be under way from a call that was given
		// up.
		err := o.settleSource(b.Source.Key)
		if err == nil {
			var ok bool
			if ok, err = o.tryEnqueue(b); ok || err != nil {
				if failures > 0 {
					o.trouble.Store(nil)
				}
				return err
			}
			if !o.emptyOnly.Load() {
				if err = o.store(ctx, b); err == nil {
					return nil
				}
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		pause := time.Duration(-1)
		switch {
		case err == nil: // the spool is to be emptied
		case errors.Is(err, spool.ErrFull) && o.dropOldest.Load() && o.drop():
			continue
		case errors.Is(err, spool.ErrFull):
		default:
			pause = o.backoff(failures)
			o.failed(failures, err, pause)
			failures++
			// A disk that is full has room again when something was given up.
			if o.dropOldest.Load() && o.drop() {
				continue
			}
		}
		o.blocked.Add(1)
		err = wait(ctx, changed, o.window.Closed(), pause)
		o.blocked.Add(-1)
		if err != nil {
			return err
		}
	}
}

// failed keeps and logs an error of the spool.
func (o *overflow) failed(failures int, err error, pause time.Duration) {
	text := err.Error()
	o.trouble.Store(&text)
	o.failures.Add(1)
	o.logger.Log(context.Background(), failureLevel(failures), "spool_failed", "error", err, "failures", failures+1, "retry_in", pause)
}

// store brings a batch to the spool, and before it those of its source that are
// in memory alone. It returns nil when the spool has custody of it.
func (o *overflow) store(ctx context.Context, b *record.Batch) error {
	it, wanted, err := o.trimmed(b)
	if err != nil || wanted == 0 {
		return err
	}
	held, err := o.lockHeld(b.Source.Key)
	if err != nil {
		return err
	}
	mine, err := o.append(b.Source.Key, held, &it, wanted)
	o.mu.Unlock()
	if err != nil {
		// What was written before is settled nonetheless.
		return errors.Join(err, o.settleSource(b.Source.Key))
	}
	if err := o.settle(mine); err != nil {
		return err
	}
	if !mine.done {
		return ctx.Err()
	}
	return mine.err
}

// lockHeld takes mu, and returns the batches of a source that are in memory alone.
// What was delivered of the source out of memory is in the journal durably then:
// the next entry lets the source's cursor move, and recovery may take the cursor
// from the entry. It must not jump over what a loss of power takes back. What is
// delivered after the call is in an entry as well.
//
// The caller holds the batches, and passes them to append.
func (o *overflow) lockHeld(source string) ([]*ticket, error) {
	for {
		o.mu.Lock()
		held, last, durable := o.held(source)
		if durable {
			return held, nil
		}
		o.mu.Unlock()
		// The journal is written to meanwhile, and so is asked for again.
		if err := o.SyncJournal(); err != nil {
			return nil, err
		}
		o.mu.Lock()
		o.synced = max(o.synced, last)
		o.mu.Unlock()
	}
}

// held returns the batches of a source that are in memory alone, unless something
// was delivered out of memory that is not known to be durable. It becomes that,
// with all up to last, when the journal is synced. mu is held.
func (o *overflow) held(source string) (held []*ticket, last uint64, durable bool) {
	o.Delivery.mu.Lock()
	defer o.Delivery.mu.Unlock()
	c := o.cursors[source]
	if c == nil {
		return nil, o.direct, true
	}
	if c.direct > o.synced {
		return nil, o.direct, false
	}
	for _, t := range c.held {
		if !t.storing && t.undelivered > 0 {
			t.item.Batch.Retain(1)
			held = append(held, t)
		}
	}
	return held, o.direct, true
}

// append writes batches of a source that are in memory alone, and lets go of them,
// and behind them one that was not accepted yet, unless it is nil, whose entry it
// returns. mu is held.
func (o *overflow) append(source string, held []*ticket, it *queue.Item, wanted int) (*pending, error) {
	items := make([]spool.Item, 0, len(held)+1)
	for _, t := range held {
		items = append(items, spool.Item{Batch: t.item.Batch, Start: t.item.Start, Records: t.wanted})
		defer t.item.Batch.Release()
	}
	if it != nil {
		items = append(items, spool.Item{Batch: it.Batch, Start: it.Start, Records: wanted})
	}
	o.Delivery.mu.Lock()
	var last *spool.Entry
	if c := o.cursors[source]; c != nil {
		last = c.last
	}
	o.Delivery.mu.Unlock()
	entries, err := o.Spool.AppendAll(last, items)
	o.Delivery.mu.Lock()
	defer o.Delivery.mu.Unlock()
	var p *pending
	for i, e := range entries {
		p = &pending{entry: e, source: source, to: items[i].Batch.To}
		if i < len(held) {
			p.ticket = held[i]
			p.ticket.storing = true
		}
		o.pending = append(o.pending, p)
		c := o.cursors[source]
		c.pending++
		c.last = e
	}
	return p, err
}

// drop gives up the oldest segment of the spool, and reports whether it could.
func (o *overflow) drop() bool {
	n, err := o.Spool.Drop(o.SyncJournal)
	if err != nil {
		o.logger.Warn("spool_drop_failed", "error", err)
	}
	if n == 0 {
		return false
	}
	before := o.stats.drop(droppedFull, n)
	o.logger.Log(context.Background(), refusalLevel(before, int(n)), "spool_full_dropped_oldest", "records", n, "since_start", before+n)
	return true
}
