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
	spooledDesc = prometheus.NewDesc("log_capturer_spool_records",
		"Records in a sink's spool that are not delivered.", []string{"sink"}, nil)
	spoolBytesDesc = prometheus.NewDesc("log_capturer_spool_bytes",
		"Size of a sink's spool on disk.", []string{"sink"}, nil)
	spoolCapacityDesc = prometheus.NewDesc("log_capturer_spool_capacity_bytes",
		"Size that a sink's spool may have on disk; 0 for one that was turned off and is emptied.", []string{"sink"}, nil)
	spoolAsideDesc = prometheus.NewDesc("log_capturer_spool_damaged_segments",
		"Damaged segments of a sink's spool that were set aside and are kept.", []string{"sink"}, nil)
	spoolFailuresDesc = prometheus.NewDesc("log_capturer_spool_failures_total",
		"Attempts to write to, sync or read a sink's spool that failed.", []string{"sink"}, nil)
	droppedDesc = prometheus.NewDesc("log_capturer_records_dropped_total",
		"Records that were given up, by where and why.", []string{"sink", "stage", "reason"}, nil)
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
	if bucket := d.shift.Load().bucket; bucket != nil && bucket.Drops() || s.dropped[droppedRate] > 0 {
		s.collectDropped(ch, droppedRate)
	}
	if o := d.overflow; o != nil {
		s.collectDropped(ch, droppedFull)
		s.collectDropped(ch, droppedDamaged)
		stats := o.Spool.Stats()
		gauge(spooledDesc, float64(s.spooled))
		gauge(spoolBytesDesc, float64(stats.Bytes))
		gauge(spoolCapacityDesc, float64(o.Spool.MaxBytes()))
		gauge(spoolAsideDesc, float64(len(stats.Aside)))
		counter(spoolFailuresDesc, uint64(o.failures.Load()))
	}
	s.mu.Unlock()
	s.attempts.Collect(ch)
	s.seconds.Collect(ch)
}

// collectDropped shows one kind of drops. mu is held.
func (s *stats) collectDropped(ch chan<- prometheus.Metric, why drop) {
	ch <- prometheus.MustNewConstMetric(droppedDesc, prometheus.CounterValue, float64(s.dropped[why]), s.sink, why.stage, why.reason)
}
