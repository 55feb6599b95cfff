package file

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// totals are the counts of files that are gone, so that sums never fall.
type totals struct {
	records, bytes, lost int64
	gaps                 uint64
}

func (t *totals) add(s *source) {
	t.records += s.records.Load()
	t.bytes += s.bytes.Load()
	t.lost += s.lost.Load()
	t.gaps += s.gaps.Load()
}

var (
	filesDesc = prometheus.NewDesc("log_capturer_files",
		"Files by what the agent does with them.", []string{"state"}, nil)
	polledDesc = prometheus.NewDesc("log_capturer_files_polled",
		"Files of whose changes the kernel does not tell, so that they are looked at from time to time.", nil, nil)
	openDesc = prometheus.NewDesc("log_capturer_files_open",
		"Files that are open.", nil, nil)
	closedDesc = prometheus.NewDesc("log_capturer_files_closed_total",
		"Files that were closed to keep to file_monitor.max_open_files.", nil, nil)
	lagDesc = prometheus.NewDesc("log_capturer_file_lag_seconds",
		"How long ago what is read now was written, of the file that is furthest behind.", nil, nil)
	gapsDesc = prometheus.NewDesc("log_capturer_file_suspected_gaps_total",
		"Times that lines of a file may be missing, since they are in nothing that is there any more.", nil, nil)
	lostDesc = prometheus.NewDesc("log_capturer_file_lost_bytes_total",
		"Bytes that are known to be missing in suspected gaps of files.", nil, nil)
	recordsDesc = prometheus.NewDesc("log_capturer_file_records_total",
		"Records read from files.", nil, nil)
	bytesDesc = prometheus.NewDesc("log_capturer_file_bytes_total",
		"Bytes of the lines read from files.", nil, nil)
)

// Describe implements prometheus.Collector.
func (m *Monitor) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *Monitor) Collect(ch chan<- prometheus.Metric) {
	now := time.Now()
	states := map[string]int{}
	polled := 0
	var lag time.Duration
	m.mu.Lock()
	sum := m.retired
	for _, s := range m.table {
		state, _ := s.state()
		states[state]++
		sum.add(s)
		lag = max(lag, s.lag(now))
		if member := s.member.Load(); member != nil && !member.Watched() {
			polled++
		}
	}
	states[stateError] += len(m.refused)
	m.mu.Unlock()
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	}
	counter := func(desc *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, v)
	}
	for _, name := range stateNames {
		gauge(filesDesc, float64(states[name]), name)
	}
	gauge(polledDesc, float64(polled))
	gauge(openDesc, float64(m.set.Open()))
	gauge(lagDesc, lag.Seconds())
	counter(closedDesc, float64(m.set.Closed()))
	counter(gapsDesc, float64(sum.gaps))
	counter(lostDesc, float64(sum.lost))
	counter(recordsDesc, float64(sum.records))
	counter(bytesDesc, float64(sum.bytes))
}
