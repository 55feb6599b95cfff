package container

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

// pool decides who holds the leases: which streams to close and which to open.
// It has no state and no clock of its own, so that its fairness can be tested
// by itself.
//
// With no more containers than leases, each stream is closed and opened again
// at the end of its rotation interval. With more, a container that has waited
// for target takes the lease of another one: of an idle stream that has been
// open for minHold, else of any stream that has been open for slice. So nobody
// waits longer than bound says.
type pool struct {
	capacity int
	interval time.Duration
}

const (
	// minSlice keeps short rotation intervals from spending more time on
	// opening streams than on reading them.
	minSlice = 250 * time.Millisecond
	maxSlice = 10 * time.Second
	// idleAfter is how long a read must be blocked for its stream to be idle.
	idleAfter = 100 * time.Millisecond
)

// slice is how long a busy stream keeps its lease while others wait.
func (p pool) slice() time.Duration {
	return min(p.interval, maxSlice, max(p.interval/30, minSlice))
}

// target is how long a container waits before it takes another one's lease.
func (p pool) target() time.Duration { return p.slice() / 2 }

// maxSearch is how long a stream may look for its place before that counts as
// reading. Most find it at once; one that has to be searched in a large log is
// not to lose its lease before it got anywhere.
const maxSearch = time.Minute

// minHold is how long an idle stream keeps its lease while others wait.
func (p pool) minHold() time.Duration { return p.slice() / 10 }

// bound is the longest time that a container may wait for a lease when the
// given number of containers want one. It leaves grace for the streams to be
// closed and opened.
func (p pool) bound(containers int) time.Duration {
	const grace = 2 * time.Second
	if containers <= p.capacity {
		return grace
	}
	waiting := containers - p.capacity
	rounds := (waiting + p.capacity - 1) / p.capacity
	return p.target() + time.Duration(rounds)*p.slice() + grace
}

// leaseEnd returns when a stream that is opened now is rotated if nobody waits.
// The jitter keeps streams that were opened together from being rotated
// together.
func (p pool) leaseEnd(now time.Time) time.Time {
	return now.Add(p.interval - rand.N(p.interval/10+1))
}

// lease is a stream that is open.
type lease struct {
	id string
	// opened is when it began to show new lines, and end when it is rotated if
	// nobody waits.
	opened, end time.Time
	// idle says that the stream is caught up and silent.
	idle bool
	// behind says that the stream has not shown all there was when it was
	// opened. Opening it again would cost the engine the same search for its
	// place once more, so it is left alone while nobody waits.
	behind bool
	// draining says that the stream reads the rest of a log that has ended and
	// may not be there to be opened again. It ends by itself.
	draining bool
	// closing says that the stream was told to close.
	closing bool
}

// waiter is a container that wants a lease since then.
type waiter struct {
	id    string
	since time.Time
}

// decision is what to do now, and when to decide again if nothing happens.
type decision struct {
	open, close []string
	next        time.Time
}

// decide sorts its arguments.
func (p pool) decide(now time.Time, leases []lease, waiters []waiter) decision {
	var d decision
	wake := func(at time.Time) {
		if d.next.IsZero() || at.Before(d.next) {
			d.next = at
		}
	}
	slices.SortStableFunc(waiters, func(a, b waiter) int { return a.since.Compare(b.since) })
	free := p.capacity - len(leases)
	for len(waiters) > 0 && free > 0 {
		d.open = append(d.open, waiters[0].id)
		waiters, free = waiters[1:], free-1
	}
	if len(d.open) > 0 {
		wake(now) // for the ends of the new leases
	}
	// A lease that is being given up already answers for one waiter.
	for _, l := range leases {
		if l.closing && len(waiters) > 0 {
			waiters = waiters[1:]
		}
	}
	held := slices.DeleteFunc(slices.Clone(leases), func(l lease) bool { return l.closing || l.draining })
	held = slices.DeleteFunc(held, func(l lease) bool {
		if now.Before(l.end) {
			wake(l.end)
			return false
		}
		if l.behind {
			wake(now.Add(p.minHold()))
			return false
		}
		d.close = append(d.close, l.id)
		if len(waiters) > 0 {
			waiters = waiters[1:]
		}
		return true
	})
	if len(waiters) == 0 {
		return d
	}
	// Idle streams go first, the longest open first among their equals.
	slices.SortStableFunc(held, func(a, b lease) int {
		if a.idle != b.idle {
			if a.idle {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.opened.UnixNano(), b.opened.UnixNano())
	})
	for _, l := range held {
		if len(waiters) == 0 {
			break
		}
		if due := waiters[0].since.Add(p.target()); now.Before(due) {
			wake(due)
			break
		}
		hold := p.slice()
		if l.idle {
			hold = p.minHold()
		}
		if free := l.opened.Add(hold); now.Before(free) {
			// A busy stream may turn idle before its slice ends: look again.
			wake(now.Add(min(free.Sub(now), p.minHold())))
			continue
		}
		d.close = append(d.close, l.id)
		waiters = waiters[1:]
	}
	return d
}
