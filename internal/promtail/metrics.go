package promtail

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
)

// metricsStage converts metrics, each to a stage of its own: those whose source a
// record does not have are left as they are.
func (p *pipeline) metricsStage(n node) {
	for _, e := range n.entries() {
		typ := strings.ToLower(e.value.get("type").text())
		from := e.value.get("source").text()
		if from == "" {
			from = e.key
		}
		config := e.value.get("config")
		action := strings.ToLower(config.get("action").text())
		all := config.get("match_all").isTrue()
		bytes := all && config.get("count_entry_bytes").isTrue()
		prefix := "promtail_custom_"
		if own := e.value.get("prefix").text(); own != "" {
			prefix = own
		}
		metric := yaml.MapSlice{item("name", prefix+e.key), item("type", typ)}
		var conditions []string
		if !all {
			conditions = append(conditions, field(p.read(from))+" != nil")
		}
		if value := config.get("value"); value.exists() {
			conditions = append(conditions, p.source(from)+" == "+quote(value.text()))
		}
		switch {
		case typ == "counter" && action == "add" && bytes:
			metric = append(metric, item("value", "len(line)"))
		case typ == "counter" && action == "inc":
		case typ == "counter" && action == "add", typ == "gauge" && action == "set", typ == "histogram":
			conditions = append(conditions, matches(p.source(from), number))
			metric = append(metric, item("value", escape("float("+p.source(from)+")")))
		default:
			p.note(e.value, "is not carried over: a %s with the action %q is not known", typ, action)
			continue
		}
		var buckets []any
		for _, bucket := range config.get("buckets").list() {
			buckets = append(buckets, bucket.text())
		}
		if len(buckets) > 0 {
			metric = append(metric, item("buckets", buckets))
		}
		known := p.metrics[prefix+e.key]
		if known == nil {
			known = &metricUse{typ: typ, help: e.value.get("description").text(), buckets: fmt.Sprint(buckets), labels: map[string]bool{}}
			p.metrics[prefix+e.key] = known
		} else if known.typ != typ || known.buckets != fmt.Sprint(buckets) {
			p.note(e.value, "is not carried over: there is a metric of this name already, of another type or with other buckets")
			continue
		}
		if known.help != "" {
			metric = append(metric, item("help", escape(known.help)))
		}
		for name := range p.labels {
			known.labels[name] = true
		}
		metric = append(metric, item("labels", known))
		p.stageIf(and(conditions...), "metrics", item("metrics", []any{metric}))
		c := []string{"action", "match_all", "count_entry_bytes", "value", "buckets"}
		p.leftOver(config, c...)
		p.leftOver(e.value, "type", "source", "config", "prefix", "description", "max_idle_duration")
	}
}

// metricUse is what all uses of a metric have in common. It is written as the
// metric's labels: those that any of them has.
type metricUse struct {
	typ, help, buckets string
	labels             map[string]bool
}

// MarshalYAML returns the labels. A record that does not have one has it empty,
// which is as good as none.
func (m *metricUse) MarshalYAML() (any, error) {
	labels := yaml.MapSlice{}
	for _, name := range sortedKeys(m.labels) {
		labels = append(labels, item(name, escape(label(name)+` ?? ""`)))
	}
	return labels, nil
}

// number matches what is a number.
const number = `^[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?$`
