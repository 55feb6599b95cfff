package delivery

import (
	"errors"

	"log_capturer/internal/positions"
	"log_capturer/internal/record"
)

// pendingOf returns how many entries of a source are not settled.
func (d *Delivery) pendingOf(source string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.cursors[source]; c != nil {
		return c.pending
	}
	return 0
}

// settleSource settles what is pending of a source.
func (o *overflow) settleSource(source string) error {
	if o.pendingOf(source) == 0 {
		return nil
	}
	return o.settle(nil)
}

// settle makes pending entries durable and moves the custody of their records
// to the spool, for everybody who waits: those who come while it goes on share
// the next round. It does nothing when p was settled meanwhile.
func (o *overflow) settle(p *pending) error {
	o.flushing.Lock()
	defer o.flushing.Unlock()
	if p != nil && p.done {
		return nil
	}
	o.mu.Lock()
	group := o.pending
	o.pending = nil
	o.mu.Unlock()
	if len(group) == 0 {
		return nil
	}
	syncErr := o.Spool.Sync()
	good := o.dropVoid(group, syncErr)
	if err := o.commit(good); err != nil {
		// They are durable, and settled by the next one who tries.
		o.mu.Lock()
		o.pending = append(good, o.pending...)
		o.mu.Unlock()
		return err
	}
	if syncErr == nil {
		o.trouble.Store(nil)
	}
	if len(good) > 0 {
		o.changed.signal()
	}
	return nil
}

// dropVoid takes out the entries that a failed fsync has lost.
func (o *overflow) dropVoid(group []*pending, err error) (good []*pending) {
	o.Delivery.mu.Lock()
	defer o.Delivery.mu.Unlock()
	for _, p := range group {
		if !o.Spool.Void(p.entry) {
			good = append(good, p)
			continue
		}
		if err == nil {
			err = errors.New("sync spool: a sync that failed has taken the entry with it")
		}
		o.cursors[p.source].settled()
		if t := p.ticket; t != nil {
			if t.storing = false; t.finished {
				o.cursors[p.source].release(t)
			}
		}
		p.done, p.err = true, err
	}
	return good
}

// commit moves the cursors past durable entries, in one step, and lets them be
// read.
func (o *overflow) commit(group []*pending) error {
	if len(group) == 0 {
		return nil
	}
	o.Delivery.mu.Lock()
	defer o.Delivery.mu.Unlock()
	moved := map[string]record.Cursor{}
	for _, p := range group {
		to, ok := moved[p.source]
		if !ok {
			to = o.cursors[p.source].committed
		}
		to.Advance(p.to, record.AllStreams)
		moved[p.source] = to
	}
	changes := make([]positions.Change, 0, 2*len(moved)+1)
	for source, to := range moved {
		changes = append(changes, o.spooledChanges(source, o.cursors[source], to)...)
	}
	changes = append(changes, spoolChange(o.opts.Name, group[len(group)-1].entry.End()))
	if err := o.opts.Journal.Commit(changes...); err != nil {
		return err
	}
	for source, to := range moved {
		o.cursors[source].spooled(to)
	}
	for _, p := range group {
		o.cursors[p.source].settled()
		p.done = true
		if p.ticket == nil {
			o.stats.spool(p.entry.Records())
			o.Spool.Publish(p.entry, false)
			continue
		}
		t := p.ticket
		t.storing = false
		o.cursors[p.source].release(t)
		o.Spool.Publish(p.entry, true)
		if t.undelivered == 0 {
			o.Spool.Done(p.entry) // delivered while it was written
			continue
		}
		t.entry = p.entry
		o.stats.move(t.undelivered)
	}
	return nil
}

// settled counts an entry of the source that is in custody now, or void.
func (c *sourceCursors) settled() {
	if c.pending--; c.pending == 0 {
		c.last = nil
	}
}

// release takes a ticket off the batches that are in memory alone.
func (c *sourceCursors) release(t *ticket) {
	for i := range c.held {
		if c.held[i] == t {
			c.held = append(c.held[:i], c.held[i+1:]...)
			return
		}
	}
}
