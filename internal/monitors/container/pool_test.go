package container

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// poolSimulation runs a pool with a clock of its own. Streams close at once
// when told to, or after a while.
type poolSimulation struct {
	pool       pool
	now        time.Time
	leases     map[string]*simulatedLease
	waiting    map[string]time.Time
	longest    time.Duration
	rotations  map[string]int
	closeDelay func() time.Duration
	// idle says whether a container's stream is idle now.
	idle func(id string, opened, now time.Time) bool
	// early counts the streams that were closed before their lease's end.
	early int
}

type simulatedLease struct {
	lease
	closed time.Time // when it closes, once it was told to
}

func newPoolSimulation(p pool, containers int) *poolSimulation {
	s := &poolSimulation{
		pool: p, now: time.Unix(1_000_000, 0),
		leases: map[string]*simulatedLease{}, waiting: map[string]time.Time{}, rotations: map[string]int{},
		closeDelay: func() time.Duration { return 0 },
		idle:       func(string, time.Time, time.Time) bool { return false },
	}
	for i := range containers {
		s.waiting[fmt.Sprintf("c%03d", i)] = s.now
	}
	return s
}

// fataler is a *testing.T or a *rapid.T.
type fataler interface {
	Fatalf(format string, args ...any)
}

// run runs the simulation for a time.
func (s *poolSimulation) run(t fataler, d time.Duration) {
	containers := len(s.leases) + len(s.waiting)
	end := s.now.Add(d)
	for s.now.Before(end) {
		for id, l := range s.leases {
			if !l.closed.IsZero() && !s.now.Before(l.closed) {
				delete(s.leases, id)
				s.waiting[id] = s.now
				s.rotations[id]++
			}
		}
		next := s.decide(t)
		if len(s.leases)+len(s.waiting) != containers {
			t.Fatalf("%d leases and %d waiters of %d containers", len(s.leases), len(s.waiting), containers)
		}
		for _, l := range s.leases {
			if !l.closed.IsZero() && l.closed.Before(next) {
				next = l.closed
			}
		}
		if !next.After(s.now) {
			next = s.now.Add(time.Millisecond)
		}
		s.now = next
	}
	for _, since := range s.waiting {
		s.longest = max(s.longest, s.now.Sub(since))
	}
}

// decide asks the pool and does what it says. It returns when to ask again.
func (s *poolSimulation) decide(t fataler) time.Time {
	var leases []lease
	var waiters []waiter
	for id, l := range s.leases {
		l.idle, l.closing = s.idle(id, l.opened, s.now), !l.closed.IsZero()
		leases = append(leases, l.lease)
	}
	for id, since := range s.waiting {
		waiters = append(waiters, waiter{id: id, since: since})
	}
	// The table is a map: the order of the arguments is any.
	slices.SortFunc(leases, func(a, b lease) int { return compare(a.id, b.id) })
	slices.SortFunc(waiters, func(a, b waiter) int { return compare(a.id, b.id) })
	free := s.pool.capacity - len(s.leases)
	d := s.pool.decide(s.now, leases, slices.Clone(waiters))
	for _, id := range d.close {
		l := s.leases[id]
		if l == nil || !l.closed.IsZero() {
			t.Fatalf("closes %s, which holds no lease or gives it up already", id)
		}
		if s.now.Before(l.end) {
			s.early++
		}
		l.closed = s.now.Add(s.closeDelay())
	}
	for _, id := range d.open {
		since, ok := s.waiting[id]
		if !ok {
			t.Fatalf("opens %s, which does not wait", id)
		}
		s.longest = max(s.longest, s.now.Sub(since))
		delete(s.waiting, id)
		s.leases[id] = &simulatedLease{lease: lease{id: id, opened: s.now, end: s.pool.leaseEnd(s.now)}}
	}
	if len(s.leases) > s.pool.capacity {
		t.Fatalf("%d leases of %d", len(s.leases), s.pool.capacity)
	}
	if want := min(free, len(waiters)); len(d.open) != want {
		t.Fatalf("opens %d streams with %d leases free and %d waiters", len(d.open), free, len(waiters))
	}
	if d.next.IsZero() {
		// The monitor looks every minute anyway.
		return s.now.Add(time.Minute)
	}
	return d.next
}

func compare(a, b string) int {
	if a < b {
		return -1
	}
	return 1
}

// TestPoolLetsNobodyWaitLongerThanItsBound runs random loads: streams that are
// idle always, never, or by turns, and that take a while to close.
func TestPoolLetsNobodyWaitLongerThanItsBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := pool{
			capacity: rapid.IntRange(1, 20).Draw(t, "capacity"),
			interval: time.Duration(rapid.SampledFrom([]int{50, 300, 3000, 60_000, 300_000}).Draw(t, "interval_ms")) * time.Millisecond,
		}
		containers := rapid.IntRange(1, 5*p.capacity).Draw(t, "containers")
		s := newPoolSimulation(p, containers)
		// Each container is idle for a share of the time, in its own rhythm.
		type rhythm struct{ period, idle, offset int }
		rhythms := map[string]rhythm{}
		for id := range s.waiting {
			rhythms[id] = rhythm{}
		}
		for _, id := range slices.Sorted(mapKeys(rhythms)) {
			period := rapid.SampledFrom([]int{100, 700, 5000, 30_000}).Draw(t, "period_ms")
			rhythms[id] = rhythm{period, rapid.IntRange(0, period).Draw(t, "idle_ms"), rapid.IntRange(0, period).Draw(t, "offset")}
		}
		s.idle = func(id string, opened, now time.Time) bool {
			r := rhythms[id]
			return now.Sub(opened) >= idleAfter && (int(now.UnixMilli())+r.offset)%r.period < r.idle
		}
		delay := time.Duration(rapid.IntRange(0, 20).Draw(t, "close_ms")) * time.Millisecond
		s.closeDelay = func() time.Duration { return delay }
		s.run(t, 20*p.slice()+10*p.interval/time.Duration(rapid.IntRange(1, 10).Draw(t, "part")))
		if bound := p.bound(containers); s.longest > bound {
			t.Fatalf("%d containers on %d leases, interval %v: one waited %v, the bound is %v",
				containers, p.capacity, p.interval, s.longest, bound)
		}
	})
}

func mapKeys[V any](m map[string]V) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// TestPoolWithEnoughLeasesRotatesByIntervalOnly shows that streams are closed
// at the end of their interval and for no other reason while nobody waits.
func TestPoolWithEnoughLeasesRotatesByIntervalOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := pool{
			capacity: rapid.IntRange(1, 30).Draw(t, "capacity"),
			interval: time.Duration(rapid.IntRange(1, 300).Draw(t, "interval_s")) * time.Second,
		}
		containers := rapid.IntRange(1, p.capacity).Draw(t, "containers")
		s := newPoolSimulation(p, containers)
		idle := rapid.Bool().Draw(t, "idle")
		s.idle = func(string, time.Time, time.Time) bool { return idle }
		const intervals = 20
		s.run(t, intervals*p.interval)
		if s.early > 0 {
			t.Fatalf("%d streams were closed before the end of their leases", s.early)
		}
		if s.longest > 10*time.Millisecond {
			t.Fatalf("a container waited %v", s.longest)
		}
		for id, n := range s.rotations {
			// An interval is shortened by up to a tenth.
			if n < intervals-1 || n > intervals*10/9+1 {
				t.Fatalf("%s was rotated %d times in %d intervals", id, n, intervals)
			}
		}
		if len(s.rotations) != containers {
			t.Fatalf("%d of %d containers were rotated", len(s.rotations), containers)
		}
	})
}

// TestPoolOf50For55 prints the numbers of a normal day.
func TestPoolOf50For55(t *testing.T) {
	f := func(what string, idle func(i int, now time.Time) bool) {
		t.Helper()
		p := pool{capacity: 50, interval: 5 * time.Minute}
		s := newPoolSimulation(p, 55)
		s.idle = func(id string, opened, now time.Time) bool {
			var i int
			fmt.Sscanf(id, "c%d", &i)
			return now.Sub(opened) >= idleAfter && idle(i, now)
		}
		s.run(t, time.Hour)
		fewest, most, total := 1<<30, 0, 0
		for i := range 55 {
			n := s.rotations[fmt.Sprintf("c%03d", i)]
			fewest, most, total = min(fewest, n), max(most, n), total+n
		}
		bound := p.bound(55)
		t.Logf("55 containers on 50 leases for an hour, %s: %d rotations (%d to %d each), longest wait %v, bound %v",
			what, total, fewest, most, s.longest.Round(time.Millisecond), bound)
		if s.longest > bound || fewest == 0 {
			t.Errorf("%s: longest wait %v, bound %v, fewest rotations %d", what, s.longest, bound, fewest)
		}
	}
	f("all idle", func(int, time.Time) bool { return true })
	f("all busy", func(int, time.Time) bool { return false })
	f("one line a second", func(_ int, now time.Time) bool { return now.UnixMilli()%1000 > 150 })
	f("49 busy, 6 idle", func(i int, _ time.Time) bool { return i >= 49 })
}

// TestPoolIdleStreamsYieldFirst shows the order in which streams are taken.
func TestPoolIdleStreamsYieldFirst(t *testing.T) {
	now := time.Unix(1000, 0)
	p := pool{capacity: 3, interval: 5 * time.Minute}
	at := func(ago time.Duration) time.Time { return now.Add(-ago) }
	far := now.Add(time.Hour)
	f := func(what string, leases []lease, waiters []waiter, open, shut []string) {
		t.Helper()
		d := p.decide(now, leases, waiters)
		if !slices.Equal(d.open, open) || !slices.Equal(d.close, shut) {
			t.Errorf("%s: opens %v, closes %v, want %v and %v", what, d.open, d.close, open, shut)
		}
	}
	due := []waiter{{"w", at(p.target())}}
	f("a free lease goes to the longest waiter", []lease{{id: "a", end: far}, {id: "b", end: far}},
		[]waiter{{"young", at(1)}, {"old", at(2)}, {"middle", at(1)}}, []string{"old"}, nil)
	f("nobody yields to one who has not waited for long",
		[]lease{{id: "a", opened: at(time.Minute), end: far, idle: true}, {id: "b", end: far}, {id: "c", end: far}},
		[]waiter{{"w", now}}, nil, nil)
	f("the idle one yields before an older busy one",
		[]lease{{id: "a", opened: at(time.Hour), end: far}, {id: "b", opened: at(p.minHold()), end: far, idle: true}, {id: "c", opened: now, end: far}},
		due, nil, []string{"b"})
	f("an idle one is not taken before it was read",
		[]lease{{id: "a", opened: now, end: far, idle: true}, {id: "b", opened: now, end: far}, {id: "c", opened: now, end: far}},
		due, nil, nil)
	f("while the idle one is young, a busy one at the end of its slice yields",
		[]lease{{id: "a", opened: now, end: far, idle: true}, {id: "b", opened: at(p.slice()), end: far}, {id: "c", opened: now, end: far}},
		due, nil, []string{"b"})
	f("the oldest of the busy ones yields at the end of its slice",
		[]lease{{id: "a", opened: at(p.slice()), end: far}, {id: "b", opened: at(2 * p.slice()), end: far}, {id: "c", opened: now, end: far}},
		due, nil, []string{"b"})
	f("a lease that is given up already is enough for one",
		[]lease{{id: "a", opened: at(time.Hour), end: far, closing: true}, {id: "b", opened: at(time.Hour), end: far}, {id: "c", opened: at(time.Hour), end: far}},
		due, nil, nil)
}
