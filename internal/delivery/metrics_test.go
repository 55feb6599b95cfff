package delivery_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"log_capturer/internal/delivery"
	"log_capturer/internal/delivery/deliverytest"
)

// TestMetrics says that several sinks share a registry, and that their metrics
// are the accounts.
func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuse := func(_ context.Context, a deliverytest.Attempt) error {
			return &delivery.PartialError{Refused: []delivery.Refusal{{Index: 1, Reason: "late"}}}
		}
		files := newRig(t, refuse, nil)
		loki := newRig(t, nil, func(o *delivery.Options) { o.Name = "loki" })
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(files, loki)
		for _, r := range []*rig{files, loki} {
			r.start()
			r.give(lines("a", "b", "c").Read().Next(3))
			r.drain()
		}
		if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
			t.Errorf("lint: %v, %v", problems, err)
		}
		want := `
# HELP log_capturer_queue_bytes Memory of the batches that wait for a sink.
# TYPE log_capturer_queue_bytes gauge
log_capturer_queue_bytes{sink="files"} 0
log_capturer_queue_bytes{sink="loki"} 0
# HELP log_capturer_queue_records Records that wait in memory for a sink.
# TYPE log_capturer_queue_records gauge
log_capturer_queue_records{sink="files"} 0
log_capturer_queue_records{sink="loki"} 0
# HELP log_capturer_records_accepted_total Records that a sink took responsibility for.
# TYPE log_capturer_records_accepted_total counter
log_capturer_records_accepted_total{sink="files"} 3
log_capturer_records_accepted_total{sink="loki"} 3
# HELP log_capturer_records_acknowledged_total Records that the destination acknowledged.
# TYPE log_capturer_records_acknowledged_total counter
log_capturer_records_acknowledged_total{sink="files"} 2
log_capturer_records_acknowledged_total{sink="loki"} 3
# HELP log_capturer_records_dead_lettered_total Records that the destination refused for good and that the dead-letter store holds.
# TYPE log_capturer_records_dead_lettered_total counter
log_capturer_records_dead_lettered_total{sink="files"} 1
log_capturer_records_dead_lettered_total{sink="loki"} 0
# HELP log_capturer_records_refused_total Records that the destination refused for good, by reason.
# TYPE log_capturer_records_refused_total counter
log_capturer_records_refused_total{reason="late",sink="files"} 1
# HELP log_capturer_delivery_attempts_total Attempts to deliver a request, by outcome: delivered, partial, refused, too_large or failed.
# TYPE log_capturer_delivery_attempts_total counter
log_capturer_delivery_attempts_total{outcome="delivered",sink="loki"} 1
log_capturer_delivery_attempts_total{outcome="partial",sink="files"} 1
`
		err := testutil.GatherAndCompare(registry, strings.NewReader(want),
			"log_capturer_queue_bytes", "log_capturer_queue_records",
			"log_capturer_records_accepted_total", "log_capturer_records_acknowledged_total",
			"log_capturer_records_dead_lettered_total", "log_capturer_records_refused_total",
			"log_capturer_delivery_attempts_total")
		if err != nil {
			t.Error(err)
		}
	})
}
