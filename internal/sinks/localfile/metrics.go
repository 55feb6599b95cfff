package localfile

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// operation is what the sink was doing when an error came.
type operation int

const (
	opWrite operation = iota
	opClose
	opRecover
	opRotate
	opCompress
	opDelete
	opSync
	numOps
)

func (op operation) String() string {
	return [...]string{"write", "close", "recover", "rotate", "compress", "delete", "sync"}[op]
}

// counters are the sink's numbers.
type counters struct {
	active, open, closed, closedBytes atomic.Int64

	bytes, cut, rotations, compressions, deletions atomic.Int64

	errors  [numOps]atomic.Int64
	changes [numChanges]atomic.Int64
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("log_capturer_local_file_"+name, help, append([]string{"sink"}, labels...), nil)
}

var (
	activeDesc       = desc("active_files", "Files that records are appended to.")
	openDesc         = desc("open_files", "Files that are held open.")
	closedDesc       = desc("closed_files", "Rotated files that are kept.")
	closedBytesDesc  = desc("closed_bytes", "Size of the rotated files that are kept.")
	bytesDesc        = desc("written_bytes_total", "Bytes appended to files.")
	cutDesc          = desc("cut_bytes_total", "Bytes of uncommitted attempts that were cut off again.")
	rotationsDesc    = desc("rotations_total", "Files closed by rotation.")
	compressionsDesc = desc("compressions_total", "Closed files compressed.")
	deletionsDesc    = desc("deletions_total", "Closed files deleted by retention.")
	errorsDesc       = desc("errors_total", "Errors of the file system, by what the sink was doing.", "operation")
	changesDesc      = desc("external_changes_total", "Active files that another program has changed.", "change")
)

// Describe implements prometheus.Collector.
func (s *Sink) Describe(chan<- *prometheus.Desc) {
	// The sinks of an agent share these descriptions, and a registry takes each
	// of them from one collector only: a Sink is an unchecked collector.
}

// Collect implements prometheus.Collector.
func (s *Sink) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v *atomic.Int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, float64(v.Load()), append([]string{s.opts.Name}, labels...)...)
	}
	c := &s.counters
	send(activeDesc, prometheus.GaugeValue, &c.active)
	send(openDesc, prometheus.GaugeValue, &c.open)
	send(closedDesc, prometheus.GaugeValue, &c.closed)
	send(closedBytesDesc, prometheus.GaugeValue, &c.closedBytes)
	send(bytesDesc, prometheus.CounterValue, &c.bytes)
	send(cutDesc, prometheus.CounterValue, &c.cut)
	send(rotationsDesc, prometheus.CounterValue, &c.rotations)
	send(compressionsDesc, prometheus.CounterValue, &c.compressions)
	send(deletionsDesc, prometheus.CounterValue, &c.deletions)
	for op := range c.errors {
		send(errorsDesc, prometheus.CounterValue, &c.errors[op], operation(op).String())
	}
	for what := range c.changes {
		send(changesDesc, prometheus.CounterValue, &c.changes[what], change(what).String())
	}
}
