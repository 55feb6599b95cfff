package delivery

import (
	"context"
	"errors"
	"time"

	"log_capturer/internal/positions"
	"log_capturer/internal/record"
	"log_capturer/internal/spool"
)

// drainGrace is how long a delivery whose records are all in its spool goes on
// delivering after it was told to stop.
const drainGrace = 5 * time.Second

// run brings what the spool holds back to memory, as there is room, and removes
// what was delivered. When the input is closed it brings what is in memory to
// the spool, and ends the workers when the destination does not take it at once.
// Delivery.Run starts it and waits for it.
func (o *overflow) run(ctx context.Context, endWorkers func()) error {
	defer o.unload()
	for failures := 0; ; {
		changed := o.changed.wait()
		select {
		case <-o.window.Closed():
			o.stop(ctx, endWorkers)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		progress, err := o.refill()
		if err == nil && o.Spool.Reclaimable() {
			progress, err = true, o.reclaim()
		}
		pause := time.Duration(-1)
		switch {
		case err != nil:
			pause = o.backoff(failures)
			o.failed(failures, err, pause)
			failures++
		case progress:
			if failures > 0 {
				o.trouble.Store(nil)
				failures = 0
			}
			o.changed.signal()
			continue
		}
		if err := wait(ctx, changed, o.window.Closed(), pause); err != nil {
			return err
		}
	}
}

// unload lets go of a batch that was read and has found no room.
func (o *overflow) unload() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.loaded != nil {
		o.loaded.item.Batch.Release()
		o.loaded = nil
	}
}

// refill brings one batch from the spool to the window. It reports whether it
// did something; without room or anything to read it does not.
func (o *overflow) refill() (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.loaded == nil {
		progress, err := o.load()
		if o.loaded == nil {
			return progress, err
		}
	}
	t := o.loaded
	if !o.window.TryReserve(&t.item) {
		return false, nil
	}
	b := t.item.Batch
	o.Delivery.mu.Lock()
	o.tickets[b] = t
	o.Delivery.mu.Unlock()
	o.stats.hold(b.Memory())
	o.loaded = nil
	if err := o.window.Append(t.item); err != nil {
		// Closed: the entry stays where it is, in the spool.
		o.Delivery.mu.Lock()
		delete(o.tickets, b)
		o.Delivery.mu.Unlock()
		o.stats.release(b.Memory())
		b.Release()
		return false, nil
	}
	return true, nil
}

// load reads the next entry into o.loaded. It reports whether it has moved on,
// which it does without loading something where the records are damaged or
// delivered already. mu is held.
func (o *overflow) load() (bool, error) {
	e, b, start, err := o.Spool.Next()
	if damage, ok := errors.AsType[*spool.Damage](err); ok {
		o.stats.drop(droppedDamaged, damage.Lost)
		return true, nil
	}
	if err != nil || e == nil {
		return false, err
	}
	o.Delivery.mu.Lock()
	defer o.Delivery.mu.Unlock()
	c, err := o.sourceCursors(b.Source.Key)
	if err != nil {
		b.Release()
		return false, err
	}
	has := c.committed
	if c.split {
		has = c.delivered
	}
	// A run that was killed may have delivered some of it.
	it, wanted := trim(b, start, has)
	o.stats.deliveredBefore(e.Records() - wanted)
	if wanted == 0 {
		b.Release()
		o.Spool.Done(e)
		return true, nil
	}
	o.loaded = &ticket{item: it, wanted: wanted, undelivered: wanted, entry: e}
	return true, nil
}

// reclaim removes what was delivered from the disk. When nothing is left, the
// delivered cursors have reached the others, or what lies between was given up.
func (o *overflow) reclaim() error {
	empty, err := o.Spool.Reclaim(o.SyncJournal)
	o.changed.signal()
	if err != nil || !empty {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.pending) > 0 || o.Spool.Stats().Segments > 0 {
		return nil // it is in use again
	}
	o.Delivery.mu.Lock()
	var changes []positions.Change
	for source, c := range o.cursors {
		if c.split {
			changes = append(changes, positions.Change{Key: deliveredKey(o.opts.Name, source)})
		}
	}
	err = o.opts.Journal.Commit(changes...)
	if err == nil {
		for _, c := range o.cursors {
			c.split = false
		}
	}
	o.Delivery.mu.Unlock()
	if err != nil {
		return err
	}
	for source := range o.forgotten {
		if err := o.forget(source); err != nil {
			return err
		}
		delete(o.forgotten, source)
	}
	return nil
}

// stop brings what is in memory to the spool, so that nothing depends on the
// destination any more, and lets the workers deliver it as long as that goes
// well.
func (o *overflow) stop(ctx context.Context, endWorkers func()) {
	if err := o.storeAll(); err != nil {
		o.logger.Warn("spool_at_stop_failed", "error", err,
			"hint", "what is not delivered in time is read again after the next start")
		return
	}
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	grace := time.After(drainGrace)
	for !o.stats.isFailing() {
		select {
		case <-ctx.Done(): // delivered, or it took too long
			return
		case <-grace:
			endWorkers()
			return
		case <-ticker.C:
		}
	}
	endWorkers()
}

// storeAll brings all batches that are in memory alone to the spool. One whose
// source has no such batches is not touched.
func (o *overflow) storeAll() error {
	if o.emptyOnly.Load() {
		return errors.New("the spool is turned off")
	}
	o.Delivery.mu.Lock()
	var sources []string
	for source, c := range o.cursors {
		if len(c.held) > 0 || c.pending > 0 {
			sources = append(sources, source)
		}
	}
	o.Delivery.mu.Unlock()
	for _, source := range sources {
		for {
			held, err := o.lockHeld(source)
			if err != nil {
				return err
			}
			_, err = o.append(source, held, nil, 0)
			o.mu.Unlock()
			if err == nil {
				break
			}
			if errors.Is(err, spool.ErrVoid) {
				// They are in memory alone again when that is settled.
				if err := o.settle(nil); err != nil {
					return err
				}
				continue
			}
			if !errors.Is(err, spool.ErrFull) || !o.dropOldest.Load() || !o.drop() {
				return errors.Join(err, o.settle(nil))
			}
		}
	}
	if err := o.settle(nil); err != nil {
		return err
	}
	o.Delivery.mu.Lock()
	defer o.Delivery.mu.Unlock()
	for _, c := range o.cursors {
		for _, t := range c.held {
			if t.undelivered > 0 {
				return errors.New("sync spool: some batches are not in it")
			}
		}
	}
	return nil
}

// finish ends the part of a batch in memory. It is called before the batch is
// let go of.
func (o *overflow) finish(b *record.Batch) {
	o.Delivery.mu.Lock()
	defer o.Delivery.mu.Unlock()
	t := o.tickets[b]
	delete(o.tickets, b)
	switch {
	case t == nil: // accepted while its source was forgotten
	case t.storing:
		t.finished = true
	case t.entry == nil:
		if c := o.cursors[b.Source.Key]; c != nil {
			c.release(t)
		}
	case t.undelivered == 0:
		o.Spool.Done(t.entry)
	}
}
