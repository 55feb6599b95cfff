package deadletter

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"log_capturer/internal/health"
)

var (
	_ prometheus.Collector = (*Store)(nil)
	_ health.Reporter      = (*Store)(nil)
)

var (
	bytesDesc = prometheus.NewDesc("log_capturer_dead_letter_bytes", "Size of the dead letters on disk.", nil, nil)
	heldDesc  = prometheus.NewDesc("log_capturer_dead_letters",
		"Dead letters that are kept, by the sink that they were for and why it refused them.", []string{"sink", "reason"}, nil)
	givenUpDesc = prometheus.NewDesc("log_capturer_dead_letters_given_up_total",
		"Dead letters that were deleted because they were too old (expired) or for want of room (full).", []string{"sink", "reason"}, nil)
)

// Describe implements prometheus.Collector.
func (s *Store) Describe(ch chan<- *prometheus.Desc) {
	ch <- bytesDesc
	ch <- heldDesc
	ch <- givenUpDesc
}

// Collect implements prometheus.Collector.
func (s *Store) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(bytesDesc, prometheus.GaugeValue, float64(s.bytes()))
	for k, n := range s.held {
		ch <- prometheus.MustNewConstMetric(heldDesc, prometheus.GaugeValue, float64(n), k.sink, k.reason)
	}
	given := map[kind]uint64{}
	for k, byWhy := range s.given {
		for why, n := range byWhy {
			given[kind{k.sink, why}] += n
		}
	}
	for k, n := range given {
		ch <- prometheus.MustNewConstMetric(givenUpDesc, prometheus.CounterValue, float64(n), k.sink, k.reason)
	}
}

// Health implements health.Reporter with one component, "dead_letters". It is
// unhealthy while the last Append has failed: a sink then waits with what its
// destination refused.
func (s *Store) Health() []health.Component {
	c := health.Component{Name: "dead_letters"}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		c.Status = health.Unhealthy
		c.Reason = fmt.Sprintf("refused records cannot be written to %q, so their sinks wait: %v", s.dir, s.err)
	}
	return []health.Component{c}
}
