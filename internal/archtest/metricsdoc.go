package archtest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// metricPrefix begins the names of the agent's own metrics. Those of the Go
// runtime and of the process are not ours to document.
const metricPrefix = "log_capturer_"

// CheckMetricsDoc compares the tables of docs/metrics.md with what a registry
// shows, and returns every difference. The registry must be one that shows all:
// every component registered, and each label given a value. Metrics in notYet
// are those that appear only after something has happened, a refusal for
// example: they must be documented, and may be absent from the registry.
//
// A row of the document is
//
//	| `name` | type | `label`, `label` | meaning |
//
// with an empty third cell for a metric without labels. Metrics that do not
// begin with log_capturer_ are passed over on both sides.
func CheckMetricsDoc(doc string, gatherer prometheus.Gatherer, notYet ...string) error {
	documented, err := documentedMetrics(doc)
	if err != nil {
		return err
	}
	shown, err := shownMetrics(gatherer)
	if err != nil {
		return err
	}
	var errs []error
	for name, want := range shown {
		switch got, ok := documented[name]; {
		case !ok:
			errs = append(errs, fmt.Errorf("%s is not documented; add %s", name, want))
		case got != want:
			errs = append(errs, fmt.Errorf("%s is documented as %s, and is %s", name, got, want))
		}
	}
	for name := range documented {
		if _, ok := shown[name]; !ok && !slices.Contains(notYet, name) {
			errs = append(errs, fmt.Errorf("%s is documented, and not shown", name))
		}
	}
	for _, name := range notYet {
		if _, ok := documented[name]; !ok {
			errs = append(errs, fmt.Errorf("%s is not documented", name))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// metricRow is what a row says of a metric, but for its meaning.
type metricRow struct{ name, kind, labels string }

// String returns the row as the document has it.
func (r metricRow) String() string {
	return fmt.Sprintf("| `%s` | %s | %s |", r.name, r.kind, r.labels)
}

func documentedMetrics(doc string) (map[string]metricRow, error) {
	documented := map[string]metricRow{}
	var errs []error
	for _, cells := range tableRows(doc) {
		name, ok := code(cells[0])
		if !ok || !strings.HasPrefix(name, metricPrefix) {
			continue
		}
		if len(cells) != 4 || cells[3] == "" {
			errs = append(errs, fmt.Errorf("%s: a row has four cells: name, type, labels and meaning", name))
			continue
		}
		if _, twice := documented[name]; twice {
			errs = append(errs, fmt.Errorf("%s is documented twice", name))
		}
		documented[name] = metricRow{name, cells[1], cells[2]}
	}
	return documented, errors.Join(errs...)
}

func shownMetrics(gatherer prometheus.Gatherer) (map[string]metricRow, error) {
	families, err := gatherer.Gather()
	if err != nil {
		return nil, fmt.Errorf("gather metrics: %w", err)
	}
	shown := map[string]metricRow{}
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), metricPrefix) {
			continue
		}
		labels := map[string]bool{}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				labels["`"+label.GetName()+"`"] = true
			}
		}
		names := make([]string, 0, len(labels))
		for label := range labels {
			names = append(names, label)
		}
		slices.Sort(names)
		shown[family.GetName()] = metricRow{
			name:   family.GetName(),
			kind:   strings.ToLower(family.GetType().String()),
			labels: strings.Join(names, ", "),
		}
	}
	return shown, nil
}
