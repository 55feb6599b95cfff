package selfwatch

import (
	"maps"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	goroutinesDesc = prometheus.NewDesc("log_capturer_goroutines",
		"Goroutines of the agent.", nil, nil)
	goroutinesByComponentDesc = prometheus.NewDesc("log_capturer_goroutines_by_component",
		"Goroutines by the component that they work for, from the labels of the goroutine profile.", []string{"component"}, nil)
	openFDsDesc = prometheus.NewDesc("log_capturer_open_fds",
		"Open file descriptors of the agent.", nil, nil)
	openFDsByKindDesc = prometheus.NewDesc("log_capturer_open_fds_by_kind",
		"Open file descriptors by what they are: socket, file, inotify, pipe or other.", []string{"kind"}, nil)
	residentDesc = prometheus.NewDesc("log_capturer_resident_memory_bytes",
		"Memory that the agent occupies.", nil, nil)
	heapDesc = prometheus.NewDesc("log_capturer_heap_bytes",
		"Memory of the objects on the agent's heap, live or not yet swept.", nil, nil)
	goroutineGrowthDesc = prometheus.NewDesc("log_capturer_goroutine_growth",
		"Goroutines by which a component grows in a minute, over the window; all is their total.", []string{"component"}, nil)
	fdGrowthDesc = prometheus.NewDesc("log_capturer_open_fd_growth",
		"File descriptors by which a kind grows in a minute, over the window; all is their total.", []string{"kind"}, nil)
	memoryGrowthDesc = prometheus.NewDesc("log_capturer_memory_growth_bytes",
		"Bytes by which memory grows in a minute, over the window: heap without what queues hold, or resident.", []string{"kind"}, nil)
	growingDesc = prometheus.NewDesc("log_capturer_growing",
		"1 while the resource is judged to grow without need: goroutines, fds or heap.", []string{"resource"}, nil)
	overdueDesc = prometheus.NewDesc("log_capturer_overdue_goroutines_total",
		"Goroutines that were told to end, did not, and were given up.", []string{"component"}, nil)
	overdueNowDesc = prometheus.NewDesc("log_capturer_overdue_goroutines",
		"Goroutines that were given up and have not ended since.", nil, nil)
	cpuDesc = prometheus.NewDesc("log_capturer_cpu_seconds_total",
		"Processor time that the agent used.", nil, nil)
	startDesc = prometheus.NewDesc("log_capturer_start_time_seconds",
		"When the agent started, in Unix time.", nil, nil)
	buildDesc = prometheus.NewDesc("log_capturer_build_info",
		"Always 1, with the build of the agent as labels.", []string{"version", "commit", "go_version"}, nil)
)

// Describe implements prometheus.Collector.
func (w *Watcher) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		goroutinesDesc, goroutinesByComponentDesc, openFDsDesc, openFDsByKindDesc, residentDesc,
		heapDesc, cpuDesc, startDesc, buildDesc, goroutineGrowthDesc, fdGrowthDesc, memoryGrowthDesc,
		growingDesc, overdueDesc, overdueNowDesc,
	} {
		ch <- desc
	}
}

// Collect implements prometheus.Collector. A number that can't be read is
// absent.
func (w *Watcher) Collect(ch chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	census := w.Census()
	gauge(goroutinesDesc, float64(census.Goroutines.Total))
	for component, n := range census.Goroutines.ByComponent {
		gauge(goroutinesByComponentDesc, float64(n), component)
	}
	if fds := census.FDs; fds != nil {
		gauge(openFDsDesc, float64(fds.Total))
		for kind, n := range fds.ByKind {
			gauge(openFDsByKindDesc, float64(n), kind)
		}
	}
	if census.ResidentBytes > 0 {
		gauge(residentDesc, float64(census.ResidentBytes))
	}
	gauge(heapDesc, float64(census.HeapBytes))
	w.collectGrowth(ch)
	if used, err := cpuTime(); err == nil {
		ch <- prometheus.MustNewConstMetric(cpuDesc, prometheus.CounterValue, used.Seconds())
	}
	gauge(startDesc, float64(w.start.UnixMilli())/1000)
	gauge(buildDesc, 1, w.opts.Build.Version, w.opts.Build.Commit, goVersion())
}

// collectGrowth collects the trends, absent while they are being measured, and
// what is judged to grow.
func (w *Watcher) collectGrowth(ch chan<- prometheus.Metric) {
	growing := map[string]float64{resourceGoroutines: 0, resourceFDs: 0, resourceHeap: 0}
	for _, g := range w.Judge().Growth {
		desc, part := goroutineGrowthDesc, g.Part
		switch g.Resource {
		case resourceFDs:
			desc = fdGrowthDesc
		case resourceHeap, resourceResident:
			desc, part = memoryGrowthDesc, g.Resource
		}
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, g.PerMinute, part)
		if g.Growing {
			growing[g.Resource] = 1
		}
	}
	for resource, v := range growing {
		ch <- prometheus.MustNewConstMetric(growingDesc, prometheus.GaugeValue, v, resource)
	}
	overdue := map[string]uint64{"stream": 0} // the one that may be told from the start
	maps.Copy(overdue, w.opts.Overdue.Counts())
	for component, n := range overdue {
		ch <- prometheus.MustNewConstMetric(overdueDesc, prometheus.CounterValue, float64(n), component)
	}
	ch <- prometheus.MustNewConstMetric(overdueNowDesc, prometheus.GaugeValue, float64(len(w.opts.Overdue.Current())))
}
