package archtest

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestCheckMetricsDoc(t *testing.T) {
	registry := prometheus.NewRegistry()
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "log_capturer_depth", Help: "Depth."})
	counter := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "log_capturer_things_total", Help: "Things."}, []string{"sink", "reason"})
	foreign := prometheus.NewGauge(prometheus.GaugeOpts{Name: "go_depth", Help: "Depth."})
	registry.MustRegister(gauge, counter, foreign)
	counter.WithLabelValues("a", "b").Inc()

	f := func(want string, rows ...string) {
		t.Helper()
		doc := "# Metrics\n\n| name | type | labels | meaning |\n|---|:---:|---|---|\n" + strings.Join(rows, "\n") + "\n\nThe end.\n"
		got := ""
		if err := CheckMetricsDoc(doc, registry); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q:\n got %s\nwant %s", rows, got, want)
		}
	}
	const (
		depth  = "| `log_capturer_depth` | gauge | | How deep. |"
		things = "| `log_capturer_things_total` | counter | `reason`, `sink` | How many. |"
	)
	f("", depth, things)
	f("", things, depth, "| `go_info` | gauge | | Somebody else's. |")
	f("", depth, "", "More:", "", "| a | b | c | d |", "|---|---|---|---|", things)
	f("log_capturer_things_total is not documented; add | `log_capturer_things_total` | counter | `reason`, `sink` |", depth)
	f("log_capturer_gone is documented, and not shown", depth, things, "| `log_capturer_gone` | gauge | | Gone. |")
	f("log_capturer_depth is documented as | `log_capturer_depth` | counter |  |, and is | `log_capturer_depth` | gauge |  |",
		things, "| `log_capturer_depth` | counter | | How deep. |")
	f("log_capturer_things_total is documented as | `log_capturer_things_total` | counter | `sink` |, and is | `log_capturer_things_total` | counter | `reason`, `sink` |",
		depth, "| `log_capturer_things_total` | counter | `sink` | How many. |")
	f("log_capturer_depth is documented twice", depth, things, depth)
	f("log_capturer_depth: a row has four cells: name, type, labels and meaning", things, "| `log_capturer_depth` | gauge | How deep. |")

	// What has not happened yet must be documented all the same.
	late := []string{"log_capturer_late_total"}
	head := "| name | type | labels | meaning |\n|---|---|---|---|\n" + depth + "\n" + things + "\n"
	if err := CheckMetricsDoc(head+"| `log_capturer_late_total` | counter | | Late. |\n", registry, late...); err != nil {
		t.Errorf("a documented metric that is not shown yet: %v", err)
	}
	if err := CheckMetricsDoc(head, registry, late...); err == nil || err.Error() != "log_capturer_late_total is not documented" {
		t.Errorf("an undocumented metric that is not shown yet: %v", err)
	}
}
