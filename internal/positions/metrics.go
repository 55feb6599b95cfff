package positions

import "github.com/prometheus/client_golang/prometheus"

var (
	commitsDesc = prometheus.NewDesc("log_capturer_positions_commits_total",
		"Commits written to the positions journal.", nil, nil)
	commitFailuresDesc = prometheus.NewDesc("log_capturer_positions_commit_failures_total",
		"Commits that could not be written to the positions journal.", nil, nil)
	syncsDesc = prometheus.NewDesc("log_capturer_positions_syncs_total",
		"Times that the positions journal was made durable.", nil, nil)
	syncFailuresDesc = prometheus.NewDesc("log_capturer_positions_sync_failures_total",
		"Times that the positions journal could not be made durable.", nil, nil)
	rewritesDesc = prometheus.NewDesc("log_capturer_positions_rewrites_total",
		"Times that the positions journal was written anew, by compaction or after a fault.", nil, nil)
	bytesDesc = prometheus.NewDesc("log_capturer_positions_journal_bytes",
		"Size of the positions journal.", nil, nil)
	keysDesc = prometheus.NewDesc("log_capturer_positions_keys",
		"Keys in the positions journal.", nil, nil)
	setAsideDesc = prometheus.NewDesc("log_capturer_positions_set_aside_files",
		"Damaged journal files that were set aside when the agent started.", nil, nil)
)

var _ prometheus.Collector = (*Journal)(nil)

// Describe implements prometheus.Collector.
func (j *Journal) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{commitsDesc, commitFailuresDesc, syncsDesc, syncFailuresDesc,
		rewritesDesc, bytesDesc, keysDesc, setAsideDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (j *Journal) Collect(ch chan<- prometheus.Metric) {
	j.mu.Lock()
	s, size, keys := j.stats, j.end, len(j.entries)
	j.mu.Unlock()
	counter := func(d *prometheus.Desc, v uint64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v))
	}
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	counter(commitsDesc, s.commits)
	counter(commitFailuresDesc, s.commitFailures)
	counter(syncsDesc, s.syncs)
	counter(syncFailuresDesc, s.syncFailures)
	counter(rewritesDesc, s.rewrites)
	gauge(bytesDesc, float64(size))
	gauge(keysDesc, float64(keys))
	gauge(setAsideDesc, float64(len(j.recovery.SetAside)))
}
