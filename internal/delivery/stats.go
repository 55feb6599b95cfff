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
//	accepted = acknowledged + inMemory + dead
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

func (s *stats) delivered(worker, acknowledged, dead int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acknowledged += uint64(acknowledged)
	s.dead += uint64(dead)
	s.inMemory -= uint64(acknowledged + dead)
	s.failing[worker] = failing{}
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
	return []health.Component{c}
}

// Accounts are the numbers of a sink's accounting identity.
type Accounts struct {
	Accepted     uint64 `json:"accepted"`
	Acknowledged uint64 `json:"acknowledged"`
	InMemory     uint64 `json:"in_memory"`
	DeadLettered uint64 `json:"dead_lettered"`
}

// Accounts returns a consistent snapshot of the sink's accounts.
func (d *Delivery) Accounts() Accounts {
	s := d.stats
	s.mu.Lock()
	defer s.mu.Unlock()
	return Accounts{Accepted: s.accepted, Acknowledged: s.acknowledged, InMemory: s.inMemory, DeadLettered: s.dead}
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
