package dispatcher

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"log_capturer/internal/limit"
	"log_capturer/internal/record"
)

// limits bounds the rate of every source on its own.
type limits struct {
	rate    limit.Rate
	dropped atomic.Uint64

	mu      sync.Mutex
	buckets map[string]*limit.Bucket
}

// LimitSources bounds how much every source may bring in a second, from now on.
//
// What waits holds up its source alone. What is dropped no sink gets to see: the
// cursors move past it with the next records that are accepted. Records that
// come again, after a restart, are counted again.
func (d *Dispatcher) LimitSources(rate limit.Rate) {
	if rate.IsZero() {
		d.limits.Store(nil)
		return
	}
	d.limits.Store(&limits{rate: rate, buckets: map[string]*limit.Bucket{}})
}

func (l *limits) bucket(source string) *limit.Bucket {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[source]
	if b == nil {
		b = limit.NewBucket(l.rate)
		l.buckets[source] = b
	}
	return b
}

func (l *limits) forget(source string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.buckets, source)
}

// pass returns the part of a batch that its source may bring, nil for nothing.
// It takes over the caller's hold of b where it returns another batch, and leaves
// it where it returns b, nil or an error.
func (l *limits) pass(ctx context.Context, b *record.Batch) (*record.Batch, error) {
	bucket := l.bucket(b.Source.Key)
	if !bucket.Drops() {
		return b, bucket.Wait(ctx, len(b.Records), b.LineBytes())
	}
	n := 0
	for n < len(b.Records) && bucket.Admit(int(b.Records[n].Length)) {
		n++
	}
	if n == len(b.Records) {
		return b, nil
	}
	l.dropped.Add(uint64(len(b.Records) - n))
	if n == 0 {
		return nil, nil
	}
	head := record.NewBatch(b.Source, b.LineBytes())
	for i := range b.Records[:n] {
		r := &b.Records[i]
		head.Append(*r, b.Line(r))
	}
	head.From, head.To = b.From, b.CursorAt(n)
	b.Release()
	return head, nil
}

var droppedDesc = prometheus.NewDesc("log_capturer_records_dropped_total",
	"Records that were given up, by where and why.", []string{"sink", "stage", "reason"}, nil)

// Describe implements prometheus.Collector.
func (d *Dispatcher) Describe(chan<- *prometheus.Desc) {
	// The deliveries have this metric too: the dispatcher is an unchecked
	// collector, as they are.
}

// Collect implements prometheus.Collector.
func (d *Dispatcher) Collect(ch chan<- prometheus.Metric) {
	if limits := d.limits.Load(); limits != nil && limits.rate.Drop {
		ch <- prometheus.MustNewConstMetric(droppedDesc, prometheus.CounterValue, float64(limits.dropped.Load()), "", "source", "rate_limit")
	}
}
