package selfwatch

import "github.com/prometheus/client_golang/prometheus"

var (
	goroutinesDesc = prometheus.NewDesc("log_capturer_goroutines",
		"Goroutines of the agent.", nil, nil)
	goroutinesByComponentDesc = prometheus.NewDesc("log_capturer_goroutines_by_component",
		"Goroutines by the component that they work for, from the labels of the goroutine profile.", []string{"component"}, nil)
	openFDsDesc = prometheus.NewDesc("log_capturer_open_fds",
		"Open file descriptors of the agent.", nil, nil)
	residentDesc = prometheus.NewDesc("log_capturer_resident_memory_bytes",
		"Memory that the agent occupies.", nil, nil)
	heapDesc = prometheus.NewDesc("log_capturer_heap_bytes",
		"Memory of the objects on the agent's heap, live or not yet swept.", nil, nil)
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
		goroutinesDesc, goroutinesByComponentDesc, openFDsDesc, residentDesc,
		heapDesc, cpuDesc, startDesc, buildDesc,
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
	goroutines := w.Goroutines()
	gauge(goroutinesDesc, float64(goroutines.Total))
	for component, n := range goroutines.ByComponent {
		gauge(goroutinesByComponentDesc, float64(n), component)
	}
	if n, err := openFDs(); err == nil {
		gauge(openFDsDesc, float64(n))
	}
	if n, err := residentBytes(); err == nil {
		gauge(residentDesc, float64(n))
	}
	gauge(heapDesc, float64(heapBytes()))
	if used, err := cpuTime(); err == nil {
		ch <- prometheus.MustNewConstMetric(cpuDesc, prometheus.CounterValue, used.Seconds())
	}
	gauge(startDesc, float64(w.start.UnixMilli())/1000)
	gauge(buildDesc, 1, w.build.Version, w.build.Commit, goVersion())
}
