package delivery

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"log_capturer/internal/health"
)

// stats are a sink's accounts. All fields change under one lock, so that
//
//	accepted = acknowledged + inMemory + spooled + dead + dropped
//
// holds in every snapshot, not only at rest.
type stats struct {
	sink        string
	windowBytes int64

	mu            sync.Mutex
	accepted      uint64
	acknowledged  uint64
	dead          uint64
	inMemory      uint64
	spooled       uint64
	dropped       map[drop]uint64
	inMemoryBytes int64
	deadByReason  map[string]uint64
	splits        uint64
	failures      uint64
	// failing holds, for each worker, what its request has failed of so far. A
	// request that fails is not hidden by those that other workers deliver.
	failing []failing

	attempts *prometheus.CounterVec
	seconds  prometheus.Histogram
}

// drop is where and why records were given up.
type drop struct{ stage, reason string }

// The drops that there are.
var (
	droppedFull    = drop{"spool", "full"}
	droppedDamaged = drop{"spool", "damaged"}
	droppedRate    = drop{"sink", "rate_limit"}
)

// failing is a run of failures without a success.
type failing struct {
	since    time.Time
	failures uint64
	last     error
}

func newStats(sink string, windowBytes int64, workers int) *stats {
	labels := prometheus.Labels{"sink": sink}
	return &stats{
		sink:         sink,
		windowBytes:  windowBytes,
		failing:      make([]failing, workers),
		deadByReason: map[string]uint64{},
		dropped:      map[drop]uint64{},
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "log_capturer_delivery_attempts_total", ConstLabels: labels,
			Help: "Attempts to deliver a request, by outcome: delivered, partial, refused, too_large or failed.",
		}, []string{"outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "log_capturer_delivery_attempt_seconds", ConstLabels: labels,
			Help:    "Time that one attempt to deliver a request took.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
	}
}

// begin takes in that a shift begins, whose workers have not failed yet.
func (s *stats) begin(windowBytes int64, workers int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.windowBytes, s.failing = windowBytes, make([]failing, workers)
}

func (s *stats) setWindow(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.windowBytes = bytes
}

func (s *stats) accept(records, memory int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted += uint64(records)
	s.inMemory += uint64(records)
	s.inMemoryBytes += int64(memory)
}

// refuse takes back an accept.
func (s *stats) refuse(records, memory int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted -= uint64(records)
	s.inMemory -= uint64(records)
	s.inMemoryBytes -= int64(memory)
}

func (s *stats) release(memory int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inMemoryBytes -= int64(memory)
}

// delivered counts the records of a request, of which so many were in the
// custody of the spool. Those that were dropped were too many for the limit.
func (s *stats) delivered(worker, acknowledged, dead, dropped, spooled int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acknowledged += uint64(acknowledged)
	s.dead += uint64(dead)
	if dropped > 0 {
		s.dropped[droppedRate] += uint64(dropped)
	}
	s.spooled -= uint64(spooled)
	s.inMemory -= uint64(acknowledged + dead + dropped - spooled)
	s.failing[worker] = failing{}
}

// hold counts memory that was taken for records of the spool.
func (s *stats) hold(memory int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inMemoryBytes += int64(memory)
}

// recovered counts what a spool holds at the start: the sink takes
// responsibility for it anew.
func (s *stats) recovered(records uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted += records
	s.spooled += records
}

// spool counts records that were accepted into the spool.
func (s *stats) spool(records int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted += uint64(records)
	s.spooled += uint64(records)
}

// move counts records that were in memory and are in the spool now.
func (s *stats) move(records int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inMemory -= uint64(records)
	s.spooled += uint64(records)
}

// deliveredBefore counts records of the spool that an earlier run has delivered
// and could not remove.
func (s *stats) deliveredBefore(records int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spooled -= uint64(records)
	s.acknowledged += uint64(records)
}

// drop counts records that the spool has given up, and returns how many it had
// before, for this reason.
func (s *stats) drop(reason drop, records uint64) (before uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spooled -= records
	before = s.dropped[reason]
	s.dropped[reason] += records
	return before
}

// isFailing reports whether a worker's request has failed and not yet passed.
func (s *stats) isFailing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.failing {
		if f.failures > 0 {
			return true
		}
	}
	return false
}

func (s *stats) buried(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadByReason[reason]++
}

func (s *stats) split() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.splits++
}

func (s *stats) failed(worker int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &s.failing[worker]
	if f.failures == 0 {
		f.since = time.Now()
	}
	f.failures++
	s.failures++
	f.last = err
}

func (s *stats) attempted(took time.Duration, err error) {
	s.seconds.Observe(took.Seconds())
	s.attempts.WithLabelValues(outcome(err)).Inc()
}

func outcome(err error) string {
	if err == nil {
		return "delivered"
	}
	if _, ok := errors.AsType[*PartialError](err); ok {
		return "partial"
	}
	if _, ok := errors.AsType[*PermanentError](err); ok {
		return "refused"
	}
	if _, ok := errors.AsType[*TooLargeError](err); ok {
		return "too_large"
	}
	return "failed"
}

// unhealthyAfter is how long a sink may fail before it is unhealthy rather than
// degraded.
const unhealthyAfter = time.Minute

// Health reports whether the destination takes what it is given.
func (d *Delivery) Health() []health.Component {
	s := d.stats
	s.mu.Lock()
	defer s.mu.Unlock()
	c := health.Component{Name: "sink/" + s.sink}
	var worst failing
	for _, f := range s.failing {
		if f.failures > 0 && (worst.failures == 0 || f.since.Before(worst.since)) {
			worst = f
		}
	}
	if worst.failures > 0 {
		since := time.Since(worst.since)
		c.Status = health.Degraded
		if since >= unhealthyAfter {
			c.Status = health.Unhealthy
		}
		c.Reason = fmt.Sprintf("failing for %v, %d attempts in a row, %d records wait: %v",
			since.Round(time.Second), worst.failures, s.inMemory, worst.last)
	}
	components := []health.Component{c}
	if d.overflow != nil {
		components = append(components, d.overflow.health())
	}
	return components
}

// health reports whether the spool takes and gives what it should.
func (o *overflow) health() health.Component {
	c := health.Component{Name: "spool/" + o.opts.Name}
	stats := o.Spool.Stats()
	switch trouble := o.trouble.Load(); {
	case trouble != nil:
		c.Status, c.Reason = health.Unhealthy, *trouble
	case o.blocked.Load() > 0 && o.emptyOnly.Load():
		c.Status = health.Degraded
		c.Reason = fmt.Sprintf("the spool was turned off and still holds %d records, which go first; containers wait for them", stats.Unread)
	case o.blocked.Load() > 0:
		c.Status = health.Degraded
		c.Reason = fmt.Sprintf("the spool is full (%d bytes), so containers are not read: make spool.max_bytes larger, or set spool.when_full: drop_oldest", stats.Bytes)
	case len(stats.Aside) > 0:
		a := stats.Aside[len(stats.Aside)-1]
		c.Status = health.Degraded
		c.Reason = fmt.Sprintf("%d damaged segments were set aside, %q the last one, of whose %d records %d are lost: look at the disk, and remove the file", len(stats.Aside), a.Path, a.Held, a.Lost)
	}
	return c
}

// Accounts are the numbers of a sink's accounting identity.
type Accounts struct {
	Accepted     uint64 `json:"accepted"`
	Acknowledged uint64 `json:"acknowledged"`
	InMemory     uint64 `json:"in_memory"`
	Spooled      uint64 `json:"spooled"`
	DeadLettered uint64 `json:"dead_lettered"`
	Dropped      uint64 `json:"dropped"`
}

// Accounts returns a consistent snapshot of the sink's accounts.
func (d *Delivery) Accounts() Accounts {
	s := d.stats
	s.mu.Lock()
	defer s.mu.Unlock()
	a := Accounts{
		Accepted: s.accepted, Acknowledged: s.acknowledged, InMemory: s.inMemory,
		Spooled: s.spooled, DeadLettered: s.dead,
	}
	for _, n := range s.dropped {
		a.Dropped += n
	}
	return a
}

// Load is how full a sink's window is, and how often its destination failed.
type Load struct {
	// Bytes is the memory of the batches that wait, out of Capacity.
	Bytes, Capacity int64
	// FailedAttempts counts the attempts after which a request was tried again.
	FailedAttempts uint64
}

// Load returns the sink's load now.
func (d *Delivery) Load() Load {
	s := d.stats
	s.mu.Lock()
	defer s.mu.Unlock()
	return Load{Bytes: s.inMemoryBytes, Capacity: s.windowBytes, FailedAttempts: s.failures}
}
