package kafka

import (
	"github.com/prometheus/client_golang/prometheus"
)

// stats are the monitor's counts.
type stats struct {
	records, bytes, errors, commitErrors prometheus.Counter
}

func newStats() stats {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return stats{
		records:      counter("log_capturer_kafka_source_records_total", "Messages read from Kafka and accepted by the sinks."),
		bytes:        counter("log_capturer_kafka_source_bytes_total", "Bytes of the lines of those messages."),
		errors:       counter("log_capturer_kafka_source_fetch_errors_total", "Partitions of which a fetch failed."),
		commitErrors: counter("log_capturer_kafka_source_commit_errors_total", "Commits of the group's offsets that failed; the next one makes up for it."),
	}
}

var assignedDesc = prometheus.NewDesc("log_capturer_kafka_source_partitions",
	"Partitions that the group has given to this agent.", nil, nil)

// Describe implements prometheus.Collector.
func (m *Monitor) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *Monitor) Collect(ch chan<- prometheus.Metric) {
	for _, c := range []prometheus.Counter{m.stats.records, m.stats.bytes, m.stats.errors, m.stats.commitErrors} {
		ch <- c
	}
	ch <- prometheus.MustNewConstMetric(assignedDesc, prometheus.GaugeValue, float64(m.assigned.Load()))
}
