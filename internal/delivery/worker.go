package delivery

import (
	"context"
	"errors"
	"log/slog"
	"math/bits"
	"math/rand/v2"
	"time"

	"log_capturer/internal/deadletter"
	"log_capturer/internal/limit"
	"log_capturer/internal/planted"
	"log_capturer/internal/positions"
	"log_capturer/internal/queue"
	"log_capturer/internal/record"
	"log_capturer/internal/reuse"
)

// worker delivers one shard of the queue, one request after the other. It is
// used by one goroutine.
type worker struct {
	*Delivery
	opts   Options       // of the shift
	bucket *limit.Bucket // nil for a sink without a limit
	shard  int
	// onShift ends when the worker is to stop after the attempt that it makes;
	// working when it is to stop at once.
	onShift, working context.Context

	items    []queue.Item
	requests []Request
	byGroup  map[string]int
	body     reuse.Buffer
	changes  []positions.Change
	moves    []move
}

// run collects and delivers until the queue is closed and empty, the shift is
// over, or ctx is done. Delivery.workShift starts it and waits for it.
func (w *worker) run(ctx context.Context) error {
	limits := queue.Limits{Bytes: w.opts.BatchBytes, Records: w.opts.BatchRecords, Linger: w.opts.Linger}
	w.byGroup = map[string]int{}
	w.working = ctx
	for {
		items, err := w.window.Collect(w.onShift, w.shard, w.items[:0], limits)
		w.items = items
		if err == nil {
			err = w.deliverAll(w.onShift)
		}
		relieved := err != nil && !errors.Is(err, queue.ErrClosed) && ctx.Err() == nil && w.onShift.Err() != nil
		if relieved {
			items = w.putBack(items)
		}
		// What was not delivered is dropped from memory only: the cursor has
		// not moved, so it is read again after the next start.
		for i := range items {
			w.stats.release(items[i].Batch.Memory())
			if w.overflow != nil {
				w.overflow.finish(items[i].Batch)
			}
		}
		w.window.Done(items)
		if w.overflow != nil {
			w.overflow.changed.signal()
		}
		if errors.Is(err, queue.ErrClosed) || relieved {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// deliverAll delivers the collected items, a request for each group.
func (w *worker) deliverAll(ctx context.Context) error {
	w.group()
	defer func() {
		for i := range w.requests {
			clear(w.requests[i].Parts)
		}
	}()
	for i := range w.requests {
		if err := w.deliverLimited(ctx, &w.requests[i]); err != nil {
			return err
		}
	}
	return nil
}

// deliverLimited delivers a request when the sink's limit lets it, or drops what
// of it is too much.
func (w *worker) deliverLimited(ctx context.Context, req *Request) error {
	if w.bucket == nil {
		return w.deliver(ctx, req)
	}
	count, size := 0, 0
	for _, r := range req.All() {
		if w.bucket.Drops() && !w.bucket.Admit(int(r.Length)) {
			break
		}
		count++
		size += int(r.Length)
	}
	if !w.bucket.Drops() {
		if err := w.bucket.Wait(ctx, count, size); err != nil {
			return err
		}
		return w.deliver(ctx, req)
	}
	excess := req.Len() - count
	if excess == 0 {
		return w.deliver(ctx, req)
	}
	first, second := split(req, count)
	if err := w.deliver(ctx, &first); err != nil {
		return err
	}
	return w.persist("positions", func() error { return w.commitOnce(&second, 0, 0, excess) })
}

// group spreads the items over w.requests by the sink's groups, keeping the
// order within each.
func (w *worker) group() {
	clear(w.byGroup)
	w.requests = w.requests[:0]
	grouper, _ := w.opts.Sink.(Grouper)
	for i := range w.items {
		it := &w.items[i]
		b := it.Batch
		var keys [record.NumStreams]string
		if grouper != nil {
			for s := range keys {
				if b.Streams.Has(record.Stream(s)) {
					keys[s] = grouper.Group(b.Source, record.Stream(s))
				}
			}
		}
		// Streams that start at the same record and share a group share a part,
		// so that their records stay in the order of the source.
		for s := range keys {
			if !b.Streams.Has(record.Stream(s)) {
				continue
			}
			streams := record.Only(record.Stream(s))
			joined := false
			for t := range keys {
				if t == s || !b.Streams.Has(record.Stream(t)) || keys[t] != keys[s] || it.Start[t] != it.Start[s] {
					continue
				}
				streams |= record.Only(record.Stream(t))
				joined = joined || t < s
			}
			if joined {
				continue
			}
			w.add(keys[s], Part{Batch: b, From: it.Start[s], To: len(b.Records), Streams: streams})
		}
	}
}

func (w *worker) add(group string, part Part) {
	index, ok := w.byGroup[group]
	if !ok {
		index = len(w.requests)
		w.byGroup[group] = index
		if index < cap(w.requests) {
			w.requests = w.requests[:index+1]
		} else {
			w.requests = append(w.requests, Request{})
		}
		r := &w.requests[index]
		// The changes of an earlier request must not be committed with this
		// one, which may turn out to be empty and never be sent.
		r.Group, r.Parts, r.Changes = group, r.Parts[:0], r.Changes[:0]
	}
	w.requests[index].Parts = append(w.requests[index].Parts, part)
}

// deliver brings a request to its end: delivered, or dead-lettered. The error
// that it returns is that of ctx.
func (w *worker) deliver(ctx context.Context, req *Request) error {
	count := req.Len()
	if count == 0 {
		return w.commit(req, 0, 0)
	}
	if planted.Fault == planted.CursorBeforeDelivery {
		if err := w.commit(req, 0, 0); err != nil {
			return err
		}
	}
	req.Body, req.Encoded = w.body.Take(), false
	defer func() { req.Body = nil }()
	for failures := 0; ; failures++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err := w.attempt(req)
		w.body.Keep(req.Body)
		if err == nil {
			return w.commit(req, count, 0)
		}
		if partial, ok := errors.AsType[*PartialError](err); ok {
			return w.bury(ctx, req, count, partial.Refused)
		}
		permanent, isPermanent := errors.AsType[*PermanentError](err)
		tooLarge, isTooLarge := errors.AsType[*TooLargeError](err)
		switch {
		case (isPermanent || isTooLarge) && count > 1:
			w.stats.split()
			first, second := split(req, count/2)
			if err := w.deliver(ctx, &first); err != nil {
				return err
			}
			return w.deliver(ctx, &second)
		case isPermanent:
			return w.bury(ctx, req, count, []Refusal{{Reason: permanent.Reason, Detail: permanent.Err.Error()}})
		case isTooLarge:
			return w.bury(ctx, req, count, []Refusal{{Reason: "too_large", Detail: tooLarge.Err.Error()}})
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		pause := backoff(failures, w.opts.MinBackoff, w.opts.MaxBackoff, retryAfter(err))
		w.stats.failed(w.shard, err)
		w.logger.Log(ctx, failureLevel(failures), "delivery_failed",
			"error", err, "failures", failures+1, "records", count, "retry_in", pause)
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// failureLevel throttles the warnings of a long outage: the 1st, 2nd, 4th,
// 8th... failure in a row is a warning, the others are for debugging. Each
// names the number of failures, and with it what was held back.
func failureLevel(failures int) slog.Level {
	if n := failures + 1; n&(n-1) == 0 {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// refusalLevel throttles the warnings of refused records: it is a warning when
// their number since the start reaches a power of two, and else for debugging.
func refusalLevel(before uint64, count int) slog.Level {
	if bits.Len64(before) != bits.Len64(before+uint64(count)) {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// attempt makes one attempt, bounded in time. The end of a shift does not cut it
// short: it would not be known what became of it.
func (w *worker) attempt(req *Request) error {
	ctx, cancel := context.WithTimeout(w.working, w.opts.Timeout)
	defer cancel()
	clear(req.Changes)
	req.Changes = req.Changes[:0]
	start := time.Now()
	err := w.opts.Sink.Send(ctx, req)
	w.stats.attempted(time.Since(start), err)
	return err
}

// bury takes the refused records of an answered request to the dead letters and
// commits the request.
func (w *worker) bury(ctx context.Context, req *Request, count int, refused []Refusal) error {
	entries := make([]deadletter.Entry, 0, len(refused))
	index, now := 0, time.Now()
	next := refused
	for b, r := range req.All() {
		if len(next) == 0 {
			break
		}
		for len(next) > 0 && next[0].Index < index {
			next = next[1:] // named twice
		}
		if len(next) > 0 && next[0].Index == index {
			entries = append(entries, deadletter.Entry{
				Time: now, Sink: w.opts.Name, Reason: next[0].Reason, Detail: next[0].Detail,
				Source: b.Source, Stream: r.Stream, RecordTime: r.Timestamp(), Ordinal: r.Ordinal, Flags: r.Flags, Line: b.Line(r),
			})
			next = next[1:]
		}
		index++
	}
	err := w.persist("dead_letters", func() error { return w.opts.DeadLetters.Append(entries) })
	if err != nil {
		return err
	}
	for _, e := range entries {
		w.stats.buried(e.Reason)
	}
	if len(entries) > 0 {
		before := w.Accounts().DeadLettered
		w.logger.Log(ctx, refusalLevel(before, len(entries)), "records_refused", "count", len(entries),
			"reason", entries[0].Reason, "detail", entries[0].Detail, "since_start", before+uint64(len(entries)))
	}
	return w.commit(req, count-len(entries), len(entries))
}

// commit moves the cursors past the request's records, in one step with what
// the sink has to say.
func (w *worker) commit(req *Request, delivered, dead int) error {
	return w.persist("positions", func() error { return w.commitOnce(req, delivered, dead, 0) })
}

// commitOnce holds the lock throughout: what the journal holds of a source must
// not be overtaken by the spool, which moves cursors as well.
func (w *worker) commitOnce(req *Request, delivered, dead, dropped int) error {
	w.changes = append(w.changes[:0], req.Changes...)
	w.moves = w.moves[:0]
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range req.Parts {
		p := &req.Parts[i]
		source := p.Batch.Source.Key
		c := w.cursors[source]
		if c == nil {
			continue // forgotten while it was delivered
		}
		if n := len(w.moves); n == 0 || w.moves[n-1].cursors != c {
			w.moves = append(w.moves, move{cursors: c, source: source, committed: c.committed, delivered: c.delivered, split: c.split})
		}
		m := &w.moves[len(w.moves)-1]
		at := p.Batch.CursorAt(p.To)
		m.committed.Advance(at, p.Streams)
		if m.committed.Reaches(c.enqueued) {
			m.committed.Advance(c.passed, record.AllStreams)
		}
		if m.split {
			m.delivered.Advance(at, p.Streams)
		}
	}
	for i := range w.moves {
		m := &w.moves[i]
		w.changes = append(w.changes, w.cursorChange(m.source, m.committed))
		if !m.split {
			continue
		}
		change := positions.Change{Key: deliveredKey(w.opts.Name, m.source)}
		if m.split = !m.delivered.Reaches(m.committed); m.split {
			change.Value, _ = m.delivered.AppendBinary(nil) // never fails
		}
		w.changes = append(w.changes, change)
	}
	if err := w.opts.Journal.Commit(w.changes...); err != nil {
		return err
	}
	for i := range w.moves {
		m := &w.moves[i]
		m.cursors.committed, m.cursors.delivered, m.cursors.split = m.committed, m.delivered, m.split
		m.cursors.known = true
	}
	w.stats.delivered(w.shard, delivered, dead, dropped, w.settled(req))
	return nil
}

// move is what a commit does to the cursors of a source.
type move struct {
	cursors              *sourceCursors
	source               string
	committed, delivered record.Cursor
	split                bool
}

// settled takes the request's records off their tickets, and returns how many
// of them were in the custody of the spool.
func (w *worker) settled(req *Request) (spooled int) {
	if w.overflow == nil {
		return 0
	}
	w.direct++
	for i := range req.Parts {
		p := &req.Parts[i]
		t, n := w.tickets[p.Batch], p.records()
		if t == nil {
			continue // accepted while its source was forgotten
		}
		t.undelivered -= n
		if t.entry != nil {
			spooled += n
		} else if c := w.cursors[p.Batch.Source.Key]; c != nil {
			c.direct = w.direct
		}
	}
	return spooled
}

// persist repeats a write to the agent's own disk until it succeeds. Until then
// nothing else is delivered, and no shift ends: the alternative is to deliver it
// twice.
func (w *worker) persist(what string, write func() error) error {
	for failures := 0; ; failures++ {
		err := write()
		if err == nil {
			return nil
		}
		ctx := w.working
		w.stats.failed(w.shard, err)
		pause := backoff(failures, w.opts.MinBackoff, w.opts.MaxBackoff, 0)
		w.logger.Log(ctx, failureLevel(failures), "write_failed", "what", what, "error", err, "failures", failures+1, "retry_in", pause)
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// split cuts a request in two, the first with n records.
func split(req *Request, n int) (first, second Request) {
	first.Group, second.Group = req.Group, req.Group
	for i := range req.Parts {
		p := req.Parts[i]
		if n == 0 {
			second.Parts = append(second.Parts, p)
			continue
		}
		cut := p.From
		for ; cut < p.To && n > 0; cut++ {
			if p.Streams.Has(p.Batch.Records[cut].Stream) {
				n--
			}
		}
		head, tail := p, p
		head.To, tail.From = cut, cut
		first.Parts = append(first.Parts, head)
		if cut < p.To {
			second.Parts = append(second.Parts, tail)
		}
	}
	return first, second
}

// backoff returns the pause after the given number of earlier failures in a
// row: a random part of an exponentially growing span (full jitter), and not
// less than the destination asked for.
func backoff(failures int, low, high, asked time.Duration) time.Duration {
	span := high
	if failures < 63 && low <= high>>failures {
		span = low << failures
	}
	return max(rand.N(span)+1, asked)
}

// sleep waits for the pause, or until ctx is done.
func sleep(ctx context.Context, pause time.Duration) error {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
