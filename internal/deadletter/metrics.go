package deadletter

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"log_capturer/internal/health"
)

var (
	_ prometheus.Collector = (*File)(nil)
	_ health.Reporter      = (*File)(nil)
)

var bytesDesc = prometheus.NewDesc("log_capturer_dead_letter_bytes", "Size of the dead-letter file.", nil, nil)

// Describe implements prometheus.Collector.
func (f *File) Describe(ch chan<- *prometheus.Desc) { ch <- bytesDesc }

// Collect implements prometheus.Collector.
func (f *File) Collect(ch chan<- prometheus.Metric) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(bytesDesc, prometheus.GaugeValue, float64(f.size))
}

// Health implements health.Reporter with one component, "dead_letters". It is
// unhealthy while the last Append has failed: a sink then waits with what its
// destination refused.
func (f *File) Health() []health.Component {
	c := health.Component{Name: "dead_letters"}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		c.Status = health.Unhealthy
		c.Reason = fmt.Sprintf("refused records cannot be written to %q, so their sinks wait: %v", f.path, f.err)
	}
	return []health.Component{c}
}
