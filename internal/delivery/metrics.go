package delivery

import "github.com/prometheus/client_golang/prometheus"

var (
	acceptedDesc = prometheus.NewDesc("log_capturer_records_accepted_total",
		"Records that a sink took responsibility for.", []string{"sink"}, nil)
	acknowledgedDesc = prometheus.NewDesc("log_capturer_records_acknowledged_total",
		"Records that the destination acknowledged.", []string{"sink"}, nil)
	deadLetteredDesc = prometheus.NewDesc("log_capturer_records_dead_lettered_total",
		"Records that the destination refused for good and that the dead-letter store holds.", []string{"sink"}, nil)
	refusedDesc = prometheus.NewDesc("log_capturer_records_refused_total",
		"Records that the destination refused for good, by reason.", []string{"sink", "reason"}, nil)
	inMemoryDesc = prometheus.NewDesc("log_capturer_queue_records",
		"Records that wait in memory for a sink.", []string{"sink"}, nil)
	inMemoryBytesDesc = prometheus.NewDesc("log_capturer_queue_bytes",
		"Memory of the batches that wait for a sink.", []string{"sink"}, nil)
	capacityDesc = prometheus.NewDesc("log_capturer_queue_capacity_bytes",
		"Memory that batches may use while they wait for a sink.", []string{"sink"}, nil)
	splitsDesc = prometheus.NewDesc("log_capturer_delivery_splits_total",
		"Requests that were split because they were too large or held a refused record.", []string{"sink"}, nil)
)

// Describe implements prometheus.Collector.
func (d *Delivery) Describe(chan<- *prometheus.Desc) {
	// The sinks of an agent share these descriptions, and a registry takes each
	// of them from one collector only: a Delivery is an unchecked collector.
}

// Collect implements prometheus.Collector.
func (d *Delivery) Collect(ch chan<- prometheus.Metric) {
	s := d.stats
	s.mu.Lock()
	counter := func(desc *prometheus.Desc, v uint64) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(v), s.sink)
	}
	gauge := func(desc *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, s.sink)
	}
	counter(acceptedDesc, s.accepted)
	counter(acknowledgedDesc, s.acknowledged)
	counter(deadLetteredDesc, s.dead)
	for reason, n := range s.deadByReason {
		ch <- prometheus.MustNewConstMetric(refusedDesc, prometheus.CounterValue, float64(n), s.sink, reason)
	}
	gauge(inMemoryDesc, float64(s.inMemory))
	gauge(inMemoryBytesDesc, float64(s.inMemoryBytes))
	gauge(capacityDesc, float64(s.windowBytes))
	counter(splitsDesc, s.splits)
	s.mu.Unlock()
	s.attempts.Collect(ch)
	s.seconds.Collect(ch)
}
