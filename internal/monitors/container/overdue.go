package container

import (
	"fmt"
	"time"
)

// A stream that was told to close and does not is stuck below what this package
// can reach: its read does not return although its request was cancelled. After
// a while it is given up: it is reported with its stack and counted, its lease
// is given on, and its container is read by another stream. It costs itself
// and nothing else.
//
// What a stream that was given up has read can't be handed over any more: its
// context is done, and handOver looks at it. Its container is resumed where the
// sinks stand, as after a start of the agent, since the position is still the
// stuck stream's to change.

const (
	// streamPatience is how long a stream may take to close. A read returns at
	// once when its request is cancelled; what takes longer is nothing that
	// ends by itself soon.
	streamPatience = 10 * time.Second
	// maxStuck is how many streams of one container may be stuck. A container
	// that has so many is not opened again before one of them has ended, so
	// that what is stuck is bounded.
	maxStuck = 3
	// openTimeout is how long the engine may take to answer the request for
	// events or for a log. It answers before there are any.
	openTimeout = engineTimeout
)

// giveUpStuck takes the leases of streams that were told to close long ago, and
// returns when to look again, zero when nothing is to be looked for. The caller
// holds m.mu.
func (m *Monitor) giveUpStuck(now time.Time) (next time.Time) {
	wake := func(at time.Time) {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	for _, e := range m.table {
		switch {
		case e.stream == nil:
			if e.stuck >= maxStuck {
				e.retryAt = now.Add(time.Minute)
			}
			continue
		case e.stream.ctx.Err() == nil:
			continue
		case e.told.IsZero():
			e.told = now
		}
		if due := e.told.Add(m.opts.patience); now.Before(due) {
			wake(due)
			continue
		}
		m.giveUp(e, now)
		wake(now) // the lease is free
	}
	return next
}

// giveUp takes the lease of a stuck stream. The caller holds m.mu.
func (m *Monitor) giveUp(e *entry, now time.Time) {
	e.stream.task.Overdue("close a log stream", m.opts.patience)
	m.stats.reopens.WithLabelValues("overdue").Inc()
	e.stuck++
	e.stream, e.closing, e.draining, e.told = nil, false, false, time.Time{}
	e.position = position{}
	e.state, e.waitingSince = stateWaiting, now
	if e.stuck >= maxStuck {
		e.state, e.failures = stateFailing, failingAfter
		e.reason = fmt.Sprintf("%d of its streams do not end although they were closed; it is read again when one has", e.stuck)
		e.retryAt = now.Add(time.Minute)
	}
}

// unstuck takes in that a stream that was given up has ended after all. The
// caller holds m.mu.
func (m *Monitor) unstuck(e *entry) {
	if e.stuck >= maxStuck {
		e.retryAt = time.Time{}
	}
	e.stuck--
}

// awaitStreams takes in the ends of all streams, which were told to close, and
// reports whether they all have ended. It gives up those that do not.
func (m *Monitor) awaitStreams() bool {
	timer := time.NewTimer(m.opts.patience)
	defer timer.Stop()
	for m.open() > 0 {
		select {
		case r := <-m.results:
			m.ended(r)
		case <-timer.C:
			m.mu.Lock()
			defer m.mu.Unlock()
			for _, e := range m.table {
				if e.stream != nil {
					m.giveUp(e, time.Now())
				}
			}
			return false
		}
	}
	return true
}
