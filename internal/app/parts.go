package app

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"log_capturer/internal/config"
	"log_capturer/internal/deadletter"
	"log_capturer/internal/delivery"
	"log_capturer/internal/health"
	"log_capturer/internal/monitors/container"
	"log_capturer/internal/monitors/file"
	"log_capturer/internal/monitors/kafka"
	"log_capturer/internal/pipeline"
)

// parts are the parts of an agent that a reload may replace, and the configuration
// that they were made from. It does not change once the agent runs: a reload puts
// another one in its place.
type parts struct {
	config    *config.Config
	sinks     []*sink
	pipelines *pipeline.Metrics
	table     *pipeline.Table
	// The monitors are nil where they are turned off.
	engine  *container.Docker
	monitor *container.Monitor
	files   *file.Monitor
	kafka   *kafka.Monitor
}

// now returns the parts that run.
func (a *app) now() *parts { return a.parts.Load() }

// sink returns the sink of a name, or nil.
func (p *parts) sink(name string) *sink {
	for _, s := range p.sinks {
		if s.config.Name == name {
			return s
		}
	}
	return nil
}

func (p *parts) deliveries() []*delivery.Delivery {
	list := make([]*delivery.Delivery, len(p.sinks))
	for i, s := range p.sinks {
		list[i] = s.delivery
	}
	return list
}

func (p *parts) targets() []deadletter.Target {
	list := make([]deadletter.Target, len(p.sinks))
	for i, s := range p.sinks {
		list[i] = s.delivery
	}
	return list
}

func (p *parts) shutdownTimeout() time.Duration {
	return time.Duration(p.config.Dispatcher.ShutdownTimeout)
}

func (p *parts) undelivered() uint64 {
	var n uint64
	for _, s := range p.sinks {
		n += s.delivery.Accounts().InMemory
	}
	return n
}

// Health returns what every part says, in the order in which it is shown.
func (a *app) Health() []health.Component {
	p := a.now()
	reporters := []health.Reporter{a.reloads, a.journal, a.deadLetters, a.watcher}
	for _, s := range p.sinks {
		reporters = append(reporters, s.delivery)
		if s.reporter != nil {
			reporters = append(reporters, s.reporter)
		}
	}
	if p.monitor != nil {
		reporters = append(reporters, p.monitor)
	}
	if p.files != nil {
		reporters = append(reporters, p.files)
	}
	if p.kafka != nil {
		reporters = append(reporters, p.kafka)
	}
	var components []health.Component
	for _, r := range reporters {
		components = append(components, r.Health()...)
	}
	return components
}

// collector collects the metrics of the parts that run. It is an unchecked one,
// since these come and go.
type collector struct{ *app }

// Describe implements prometheus.Collector.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	p := c.now()
	p.pipelines.Collect(ch)
	p.pipelines.Made().Collect(ch)
	for _, s := range p.sinks {
		s.delivery.Collect(ch)
		if s.collector != nil {
			s.collector.Collect(ch)
		}
	}
	if p.monitor != nil {
		p.monitor.Collect(ch)
	}
	if p.files != nil {
		p.files.Collect(ch)
	}
	if p.kafka != nil {
		p.kafka.Collect(ch)
	}
}
