package container

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// stats are the monitor's own counts. What can be computed from the table is.
type stats struct {
	rotations prometheus.Counter
	probes    prometheus.Counter
	reopens   *prometheus.CounterVec
	changes   *prometheus.CounterVec
	searches  prometheus.Counter
	repeats   repeatStats
	wait      prometheus.Histogram
	// retiredGaps are the gaps of containers that are gone; retired likewise.
	retiredGaps, retiredLost     uint64
	retiredRecords, retiredBytes int64
}

func newStats() stats {
	reopens := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "log_capturer_stream_reopens_total",
		Help: "Streams opened again for another reason than rotation: stuck, ended, error or overdue.",
	}, []string{"reason"})
	for _, reason := range []string{"stuck", "ended", "error", "overdue"} {
		reopens.WithLabelValues(reason)
	}
	changes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "log_capturer_transport_changes_total",
		Help: "Containers that changed over to being read in another way, by the new one.",
	}, []string{"transport"})
	for _, t := range []Transport{TransportFile, TransportAPI} {
		changes.WithLabelValues(string(t))
	}
	return stats{
		rotations: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "log_capturer_stream_rotations_total", Help: "Streams closed at the end of their lease.",
		}),
		probes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "log_capturer_stream_probes_total", Help: "Silent streams compared with the newest entry of their log.",
		}),
		reopens: reopens,
		changes: changes,
		searches: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "log_capturer_position_searches_total",
			Help: "Times that all files of a container were searched for the last line that was read, since it was not where it had been.",
		}),
		repeats: newRepeatStats(),
		wait: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "log_capturer_stream_wait_seconds", Help: "Time that a container waited for a stream.",
			Buckets: []float64{.001, .01, .1, .25, .5, 1, 2.5, 5, 10, 15, 30, 60},
		}),
	}
}

func (s *stats) waited(d time.Duration) { s.wait.Observe(max(d, 0).Seconds()) }

// retire keeps the totals of a container that is gone, so that sums over all
// containers never fall.
func (s *stats) retire(c *counters) {
	s.retiredGaps += c.gaps.Load()
	s.retiredLost += c.lost.Load()
	s.retiredRecords += c.records.Load()
	s.retiredBytes += c.bytes.Load()
}

var (
	activeDesc = prometheus.NewDesc("log_capturer_active_streams",
		"Log streams that are open.", nil, nil)
	transportDesc = prometheus.NewDesc("log_capturer_containers_read",
		"Containers that are being read, by how: file or api.", []string{"transport"}, nil)
	lostDesc = prometheus.NewDesc("log_capturer_container_lost_bytes_total",
		"Bytes of containers' files that were skipped since they are no entries: torn ones, NULs.", nil, nil)
	capacityDesc = prometheus.NewDesc("log_capturer_stream_pool_capacity",
		"Log streams that may be open at once (container_monitor.max_streams).", nil, nil)
	boundDesc = prometheus.NewDesc("log_capturer_stream_wait_bound_seconds",
		"Longest time that a container may wait for a stream with the present number of containers.", nil, nil)
	longestDesc = prometheus.NewDesc("log_capturer_stream_longest_wait_seconds",
		"Time that the container has waited that waits longest now.", nil, nil)
	containersDesc = prometheus.NewDesc("log_capturer_containers",
		"Containers by what the agent does with them.", []string{"state"}, nil)
	lagDesc = prometheus.NewDesc("log_capturer_lag_seconds",
		"How far the container that is furthest behind is behind: the age of what was read last, or how long it was not read.", nil, nil)
	gapsDesc = prometheus.NewDesc("log_capturer_suspected_gaps_total",
		"Positions that were in nothing that the engine still had, so that lines before the next one may be missing.", nil, nil)
	recordsDesc = prometheus.NewDesc("log_capturer_container_records_total",
		"Records read from containers.", nil, nil)
	bytesDesc = prometheus.NewDesc("log_capturer_container_bytes_total",
		"Bytes of the lines read from containers.", nil, nil)
	engineDesc = prometheus.NewDesc("log_capturer_engine_up",
		"1 while the container engine answers.", nil, nil)
)

// Describe implements prometheus.Collector.
func (m *Monitor) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *Monitor) Collect(ch chan<- prometheus.Metric) {
	now := time.Now()
	m.mu.Lock()
	states := make([]int, len(stateNames))
	var active, wanting, files int
	var longest, lag time.Duration
	gaps, records, bytes, lost := m.stats.retiredGaps, m.stats.retiredRecords, m.stats.retiredBytes, m.stats.retiredLost
	for _, e := range m.table {
		states[e.state]++
		gaps += e.counters.gaps.Load()
		lost += e.counters.lost.Load()
		records += e.counters.records.Load()
		bytes += e.counters.bytes.Load()
		lag = max(lag, e.lag(now))
		switch e.state {
		case stateReading:
			if e.file != nil {
				files++
				continue
			}
			active++
			wanting++
		case stateWaiting:
			wanting++
			longest = max(longest, now.Sub(e.wantsSince()))
		}
	}
	up := 0.0
	if m.listed && m.engineError == nil {
		up = 1
	}
	m.mu.Unlock()
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	}
	counter := func(desc *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, v)
	}
	gauge(activeDesc, float64(active))
	gauge(transportDesc, float64(files), string(TransportFile))
	gauge(transportDesc, float64(active), string(TransportAPI))
	gauge(capacityDesc, float64(m.pool.capacity))
	gauge(boundDesc, m.pool.bound(wanting).Seconds())
	gauge(longestDesc, longest.Seconds())
	for s, n := range states {
		gauge(containersDesc, float64(n), stateNames[s])
	}
	gauge(lagDesc, lag.Seconds())
	gauge(engineDesc, up)
	counter(gapsDesc, float64(gaps))
	counter(lostDesc, float64(lost))
	counter(recordsDesc, float64(records))
	counter(bytesDesc, float64(bytes))
	m.stats.rotations.Collect(ch)
	m.stats.probes.Collect(ch)
	m.stats.reopens.Collect(ch)
	m.stats.changes.Collect(ch)
	m.stats.searches.Collect(ch)
	m.stats.repeats.leftOut.Collect(ch)
	m.stats.repeats.verdicts.Collect(ch)
	m.stats.wait.Collect(ch)
}
