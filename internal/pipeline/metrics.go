package pipeline

import (
	"errors"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what pipelines do, and holds the metrics that they make from
// logs. It may be used from any number of goroutines.
type Metrics struct {
	mu     sync.Mutex
	stages map[[2]string]*stageStats
	made   map[string]*madeMetric
	// before are the metrics made by the pipelines that these follow.
	before map[string]*madeMetric
}

// NewMetrics returns Metrics without any.
func NewMetrics() *Metrics {
	return &Metrics{stages: map[[2]string]*stageStats{}, made: map[string]*madeMetric{}}
}

// Successor returns the metrics of the pipelines that follow these ones. What has
// the same name, and is made in the same way, goes on counting.
func (m *Metrics) Successor() *Metrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Metrics{stages: maps.Clone(m.stages), made: map[string]*madeMetric{}, before: maps.Clone(m.made)}
}

// stageStats are the counters of the stages of one name.
type stageStats struct {
	mu       sync.Mutex
	dropped  map[string]uint64
	failures map[string]uint64
}

func (m *Metrics) stage(pipeline, name string) *stageStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := [2]string{pipeline, name}
	s := m.stages[key]
	if s == nil {
		s = &stageStats{dropped: map[string]uint64{}, failures: map[string]uint64{}}
		m.stages[key] = s
	}
	return s
}

func (s *stageStats) drop(reason string, records int) {
	s.mu.Lock()
	s.dropped[reason] += uint64(records)
	s.mu.Unlock()
}

func (s *stageStats) failed(reason string) {
	s.mu.Lock()
	s.failures[reason]++
	s.mu.Unlock()
}

// Dropped returns how many records stages have dropped, by stage and reason.
func (m *Metrics) Dropped() map[[2]string]uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[[2]string]uint64{}
	for key, s := range m.stages {
		s.mu.Lock()
		for reason, n := range s.dropped {
			out[[2]string{key[1], reason}] += n
		}
		s.mu.Unlock()
	}
	return out
}

var (
	// The sinks have this metric too. A record that a stage drops is for none.
	droppedDesc = prometheus.NewDesc("log_capturer_records_dropped_total",
		"Records that were given up, by where and why.", []string{"sink", "stage", "reason"}, nil)
	failuresDesc = prometheus.NewDesc("log_capturer_pipeline_failures_total",
		"Records that a stage has failed on, by pipeline, the stage's name and the reason.", []string{"pipeline", "stage", "reason"}, nil)
)

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- droppedDesc
	ch <- failuresDesc
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for key, n := range m.Dropped() {
		ch <- prometheus.MustNewConstMetric(droppedDesc, prometheus.CounterValue, float64(n), "", key[0], key[1])
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, s := range m.stages {
		s.mu.Lock()
		for reason, n := range s.failures {
			ch <- prometheus.MustNewConstMetric(failuresDesc, prometheus.CounterValue, float64(n), key[0], key[1], reason)
		}
		s.mu.Unlock()
	}
}

// madeMetric is one metric made from logs. Stages of several pipelines may add
// to it.
type madeMetric struct {
	typ       string
	help      string
	labels    []string
	buckets   []float64
	maxSeries int
	desc      *prometheus.Desc

	mu     sync.Mutex
	series map[string]*series
}

// series is one combination of labels.
type series struct {
	labels []string
	value  float64
	count  uint64
	counts []uint64 // of each bucket, not cumulated
}

// other is the value of all labels of what would be a series too many.
const other = "other"

// maxLabelBytes is the length of the longest value of a label.
const maxLabelBytes = 256

// add adds, sets or observes v in the series of the label values in key, which
// are separated by labelEnd.
func (m *madeMetric) add(key []byte, v float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.series[string(key)]
	if s == nil {
		var values []string
		if len(m.labels) > 0 {
			values = strings.Split(strings.TrimSuffix(string(key), labelEnd), labelEnd)
		}
		if len(m.series) >= m.maxSeries-1 && len(m.labels) > 0 {
			for i := range values {
				values[i] = other
			}
			key = []byte(strings.Join(values, labelEnd) + labelEnd)
		}
		if s = m.series[string(key)]; s == nil {
			s = &series{labels: values, counts: make([]uint64, len(m.buckets))}
			m.series[string(key)] = s
		}
	}
	switch m.typ {
	case "gauge":
		s.value = v
		return
	case "histogram":
		if i, _ := slices.BinarySearch(m.buckets, v); i < len(s.counts) {
			s.counts[i]++
		}
	}
	s.value += v
	s.count++
}

// labelEnd ends a value of a label in a series' key. No UTF-8 has it.
const labelEnd = "\xff"

func (m *madeMetric) collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.series {
		switch m.typ {
		case "counter":
			ch <- prometheus.MustNewConstMetric(m.desc, prometheus.CounterValue, s.value, s.labels...)
		case "gauge":
			ch <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, s.value, s.labels...)
		case "histogram":
			buckets := make(map[float64]uint64, len(m.buckets))
			total := uint64(0)
			for i, bound := range m.buckets {
				total += s.counts[i]
				buckets[bound] = total
			}
			ch <- prometheus.MustNewConstHistogram(m.desc, s.count, s.value, buckets, s.labels...)
		}
	}
}

// Made collects the metrics that stages make from logs.
func (m *Metrics) Made() prometheus.Collector { return made{m} }

// made is an unchecked collector: its metrics come and go with the
// configuration.
type made struct{ *Metrics }

func (made) Describe(chan<- *prometheus.Desc) {}

func (m made) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	all := slices.Collect(maps.Values(m.made))
	m.mu.Unlock()
	for _, metric := range all {
		metric.collect(ch)
	}
}

var metricName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]{0,199}$`)

type metricsStage struct{ metrics []compiledMetric }

type compiledMetric struct {
	metric *madeMetric
	value  *expression // nil is 1
	labels []*expression
}

func (o *MetricsOptions) compile(c *compiler) (stage, error) {
	if len(o.Metrics) == 0 {
		return nil, wrong("metrics", "is empty; give a metric")
	}
	s := &metricsStage{}
	var errs []error
	for i := range o.Metrics {
		m, err := o.Metrics[i].compile(c, "metrics["+itoa(i)+"].", o.MaxSeries)
		errs = append(errs, err)
		s.metrics = append(s.metrics, m)
	}
	return s, errors.Join(errs...)
}

func (o *MetricOptions) compile(c *compiler, at string, maxSeries int) (compiledMetric, error) {
	var out compiledMetric
	if !metricName.MatchString(o.Name) || strings.HasPrefix(o.Name, "log_capturer_") || strings.HasPrefix(o.Name, "go_") {
		return out, wrong(at+"name", "want a name of letters, digits and _ that does not begin with log_capturer_ or go_, not %q", shorten(o.Name))
	}
	if o.Type == "" {
		return out, wrong(at+"type", "is missing; it is counter, gauge or histogram")
	}
	if o.Value == "" && o.Type != "counter" {
		return out, wrong(at+"value", "is missing; a %s needs a number", o.Type)
	}
	var err error
	if o.Value != "" {
		if out.value, err = number(at+"value", o.Value); err != nil {
			return out, err
		}
	}
	made := &madeMetric{typ: o.Type, help: o.Help, maxSeries: maxSeries, series: map[string]*series{}}
	for _, name := range slices.Sorted(maps.Keys(o.Labels)) {
		if !labelName.MatchString(name) || strings.HasPrefix(name, "__") {
			return out, wrong(at+"labels."+name, "%q is no name of a label: want letters, digits and _", shorten(name))
		}
		x, err := value(at+"labels."+name, o.Labels[name])
		if err != nil {
			return out, err
		}
		made.labels, out.labels = append(made.labels, name), append(out.labels, x)
	}
	if made.buckets, err = o.buckets(at); err != nil {
		return out, err
	}
	made.desc = prometheus.NewDesc(o.Name, o.Help, made.labels, nil)
	out.metric, err = c.metrics.make(at, o.Name, made)
	return out, err
}

// buckets returns the bounds of a histogram.
func (o *MetricOptions) buckets(at string) ([]float64, error) {
	if o.Type != "histogram" {
		if len(o.Buckets) > 0 {
			return nil, wrong(at+"buckets", "are for a histogram")
		}
		return nil, nil
	}
	if len(o.Buckets) == 0 {
		return prometheus.DefBuckets, nil
	}
	var bounds []float64
	for i, text := range o.Buckets {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsInf(f, 0) || math.IsNaN(f) || i > 0 && f <= bounds[i-1] {
			return nil, wrong(at+"buckets["+itoa(i)+"]", "want numbers, each more than the one before it, not %q", shorten(text))
		}
		bounds = append(bounds, f)
	}
	return bounds, nil
}

// make returns the metric of a name, which is a new one or is made by another
// stage in the same way.
func (m *Metrics) make(at, name string, made *madeMetric) (*madeMetric, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	have := m.made[name]
	if have == nil {
		if before := m.before[name]; before != nil && before.isLike(made) && before.maxSeries == made.maxSeries {
			made = before
		}
		m.made[name] = made
		return made, nil
	}
	if !have.isLike(made) {
		return nil, wrong(at+"name", "another stage makes %s with another type, help, labels or buckets", name)
	}
	return have, nil
}

// isLike reports whether two metrics of one name are the same.
func (m *madeMetric) isLike(other *madeMetric) bool {
	return m.typ == other.typ && m.help == other.help && slices.Equal(m.labels, other.labels) && slices.Equal(m.buckets, other.buckets)
}

func (s *metricsStage) open(r *Run) instance { return &measuring{metricsStage: s, env: r.env} }

type measuring struct {
	*metricsStage
	env *environment
	key []byte
}

func (m *measuring) process(e *Event, next func(*Event)) error {
	for i := range m.metrics {
		if err := m.measure(&m.metrics[i], e); err != nil {
			return err
		}
	}
	next(e)
	return nil
}

func (m *measuring) measure(c *compiledMetric, e *Event) error {
	v := 1.0
	if c.value != nil {
		var err error
		if v, err = c.value.float(m.env, e); err != nil {
			return err
		}
	}
	if math.IsNaN(v) || c.metric.typ == "counter" && v < 0 {
		return fail("not_a_value", "%v cannot be added to a counter", v)
	}
	m.key = m.key[:0]
	for _, x := range c.labels {
		start := len(m.key)
		var err error
		if m.key, err = x.appendText(m.key, m.env, e); err != nil {
			return err
		}
		text := validText(string(m.key[start:]))
		if len(text) > maxLabelBytes {
			text = validText(text[:maxLabelBytes])
		}
		m.key = append(append(m.key[:start], text...), labelEnd...)
	}
	c.metric.add(m.key, v)
	return nil
}
