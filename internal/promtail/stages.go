package promtail

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
)

func sortedKeys(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }

func (p *pipeline) labelsStage(n node) {
	values := yaml.MapSlice{}
	for _, e := range n.entries() {
		from := e.value.text()
		if from == "" {
			from = e.key
		}
		if !plainName.MatchString(e.key) {
			p.note(e.value, "is not carried over: it is no name of a label")
			continue
		}
		if strings.Contains(from, "{{") {
			p.note(e.value, "is not carried over: it names no attribute, so that Promtail does nothing either; write a stage of type template before")
			continue
		}
		values = append(values, item("label."+e.key, escape(field(p.read(from)))))
	}
	for _, e := range values {
		name, _ := e.Key.(string)
		p.hasLabel(strings.TrimPrefix(name, "label."))
	}
	if len(values) > 0 {
		p.stage("set", item("values", values))
	}
}

// metadataStage converts what Promtail sends as structured metadata. A label that
// becomes that is no label any more.
func (p *pipeline) metadataStage(n node) {
	values, moved := yaml.MapSlice{}, map[string]bool{}
	for _, e := range n.entries() {
		from := e.value.text()
		if from == "" {
			from = e.key
		}
		p.kept[attribute(e.key)] = true
		expression := field(p.read(from))
		if p.labels[from] {
			expression = label(from) + " ?? " + expression
			moved[from] = true
		}
		if expression != field(attribute(e.key)) {
			values = append(values, item(attribute(e.key), escape(expression)))
		}
	}
	if len(values) > 0 {
		p.stage("set", item("values", values))
	}
	p.removeLabels(func(name string) bool { return moved[name] })
}

func (p *pipeline) staticLabelsStage(n node) {
	values := yaml.MapSlice{}
	for _, e := range n.entries() {
		if e.value.text() == "" || !plainName.MatchString(e.key) {
			continue // Promtail sets none either.
		}
		values = append(values, item("label."+e.key, escape(quote(e.value.text()))))
		p.hasLabel(e.key)
	}
	if len(values) > 0 {
		p.stage("set", item("values", values))
	}
}

func (p *pipeline) labelDropStage(n node) {
	named := map[string]bool{}
	for _, name := range n.list() {
		named[name.text()] = true
	}
	p.removeLabels(func(name string) bool { return named[name] })
}

func (p *pipeline) labelAllowStage(n node) {
	named := map[string]bool{}
	for _, name := range n.list() {
		named[name.text()] = true
	}
	p.removeLabels(func(name string) bool { return !named[name] })
}

func (p *pipeline) outputStage(n node) {
	p.set("line", field(p.read(n.get("source").text())))
	p.leftOver(n, "source")
}

// packStage converts what puts labels and attributes into a line that is an
// object of JSON.
func (p *pipeline) packStage(n node) {
	var names []string
	for _, name := range n.get("labels").list() {
		names = append(names, name.text())
	}
	slices.Sort(names)
	parts := []string{`"{"`}
	for _, name := range slices.Compact(names) {
		value := field(p.read(name))
		if p.labels[name] {
			value = "(" + value + " ?? " + label(name) + ")"
		}
		key := strconv.Quote(name) + ":"
		parts = append(parts, "("+value+" == nil ? \"\" : "+quote(key)+" + toJSON(string("+value+` ?? "")) + ",")`)
	}
	p.set("line", strings.Join(append(parts, quote(`"_entry":`), "toJSON(line)", `"}"`), " + "))
	p.removeLabels(func(name string) bool { return slices.Contains(names, name) })
	if stamp := n.get("ingest_timestamp"); stamp.text() != "false" {
		p.note(n, "a record keeps its time, where Promtail gives it that of the packing without ingest_timestamp: false")
	}
	p.leftOver(n, "labels", "ingest_timestamp")
}

// ansi are the sequences by which terminals are told of colours.
const ansi = `\x1b\[[0-9;?]*[ -/]*[@-~]`

func (p *pipeline) decolorizeStage(n node) {
	p.stage("redact", item("only", "line"), item("patterns", []any{ansi}), item("with", ""))
	p.leftOver(n)
}

func (p *pipeline) tenantStage(n node) {
	p.note(n, "is not carried over: a sink has one tenant, which is a template of what is known of the source, as in {compose_project} or {label.NAME}; or give each tenant a sink, and choose by a stage of type route")
}

func (p *pipeline) templateStage(n node) {
	to := n.get("source").text()
	expression, err := p.templateExpression(n.get("template").text(), to)
	if err != nil {
		p.note(n, "is not carried over: %v; write a stage of type set or template", err)
		return
	}
	p.extract(to)
	delete(p.objects, to)
	p.set(attribute(to), expression)
	p.leftOver(n, "source", "template")
}

func (p *pipeline) matchStage(n node) {
	condition, ok := selector(n.get("selector").text())
	if !ok {
		p.note(n, "is not carried over: of selectors only matchers and line filters are understood, not %q", n.get("selector").text())
		return
	}
	switch reason := n.get("drop_counter_reason").text(); {
	case n.get("action").text() == "drop":
		if reason == "" {
			reason = "match_stage"
		}
		p.stage("filter", item("drop", escape(orTrue(condition))), item("reason", reason))
	case condition == "":
		p.begin()
		p.stages(n.get("stages"))
		p.end()
	default:
		p.under(condition, func() { p.stages(n.get("stages")) })
	}
	p.leftOver(n, "selector", "action", "drop_counter_reason", "stages", "pipeline_name")
}

func orTrue(condition string) string {
	if condition == "" {
		return "true"
	}
	return condition
}

func (p *pipeline) dropStage(n node) {
	var sources []string
	if one := n.get("source").text(); one != "" {
		sources = []string{one}
	}
	for _, one := range n.get("source").list() {
		sources = append(sources, one.text())
	}
	separator := ";"
	if s := n.get("separator"); s.exists() {
		separator = s.text()
	}
	text := "line"
	var conditions, texts []string
	for _, from := range sources {
		conditions = append(conditions, field(p.read(from))+" != nil")
		texts = append(texts, p.source(from))
	}
	if len(texts) > 0 {
		text = "(" + strings.Join(texts, " + "+quote(separator)+" + ") + ")"
	}
	if pattern := n.get("expression").text(); pattern != "" {
		if err := checkPattern(pattern); err != nil {
			p.note(n, "is not carried over: %v", err)
			return
		}
		conditions = append(conditions, matches(text, pattern))
	}
	if value := n.get("value"); value.exists() {
		conditions = append(conditions, text+" == "+quote(value.text()))
	}
	if age := n.get("older_than").text(); age != "" {
		conditions = append(conditions, "now() - time > duration("+quote(age)+")")
	}
	if size := n.get("longer_than").text(); size != "" {
		bytes, err := size2bytes(size)
		if err != nil {
			p.note(n.get("longer_than"), "is not carried over: %v", err)
			return
		}
		conditions = append(conditions, fmt.Sprintf("len(line) > %d", bytes))
	}
	if len(conditions) == 0 {
		p.note(n, "is not carried over: it says nothing of what is to be dropped")
		return
	}
	reason := n.get("drop_counter_reason").text()
	if reason == "" {
		reason = "drop_stage"
	}
	p.stage("filter", item("drop", escape(and(conditions...))), item("reason", reason))
	p.leftOver(n, "source", "separator", "expression", "value", "older_than", "longer_than", "drop_counter_reason")
}

// size2bytes reads a size as Promtail writes it: 8kb, 8KiB, 8192.
func size2bytes(text string) (int64, error) {
	lower := strings.ToLower(strings.TrimSpace(text))
	digits := strings.TrimRight(lower, "kmgib ")
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no size", text)
	}
	factor := map[string]float64{"": 1, "b": 1, "k": 1e3, "kb": 1e3, "kib": 1 << 10, "m": 1e6, "mb": 1e6, "mib": 1 << 20, "gb": 1e9, "gib": 1 << 30}
	unit := strings.TrimSpace(strings.TrimPrefix(lower, digits))
	if factor[unit] == 0 {
		return 0, fmt.Errorf("%q is no size", text)
	}
	return int64(n * factor[unit]), nil
}

func (p *pipeline) limitStage(n node) {
	if !n.get("drop").isTrue() {
		p.note(n, "is not carried over: it makes reading wait, which a full queue does here by itself; a stage of type limit drops")
		return
	}
	rate, err := strconv.ParseFloat(n.get("rate").text(), 64)
	if err != nil || rate <= 0 {
		p.note(n, "is not carried over: it has no rate")
		return
	}
	keys := []yaml.MapItem{item("lines_per_second", max(1, int(math.Round(rate))))}
	if burst, err := strconv.ParseFloat(n.get("burst").text(), 64); err == nil && burst > rate {
		keys = append(keys, item("burst", min(3600, int(math.Ceil(burst/rate)))))
	}
	if by := n.get("by_label_name").text(); by != "" {
		keys = append(keys, item("key", escape(label(by)+` ?? ""`)))
	}
	if most := n.get("max_distinct_labels").text(); most != "" {
		if number, err := strconv.Atoi(most); err == nil {
			keys = append(keys, item("max_keys", min(100000, max(1, number))))
		}
	}
	p.note(n, "the rate is that of each container or file here, not of all together")
	p.stage("limit", keys...)
	p.leftOver(n, "rate", "burst", "drop", "by_label_name", "max_distinct_labels")
}

func (p *pipeline) multilineStage(n node) {
	pattern := n.get("firstline").text()
	if err := checkPattern(pattern); err != nil {
		p.note(n, "is not carried over: %v", err)
		return
	}
	// These are the defaults of Promtail.
	lines, wait := 128, "3s"
	if given, err := strconv.Atoi(n.get("max_lines").text()); err == nil {
		lines = given
	}
	if given := n.get("max_wait_time").text(); given != "" {
		wait = given
	}
	p.stage("multiline", item("start", escape(pattern)), item("max_lines", min(100000, max(2, lines))), item("max_wait", wait))
	p.extract("lines")
	p.leftOver(n, "firstline", "max_lines", "max_wait_time")
}

func (p *pipeline) replaceStage(n node) {
	pattern, with, from := n.get("expression").text(), n.get("replace").text(), n.get("source").text()
	r, err := regexp.Compile(pattern)
	switch {
	case err != nil:
		p.note(n, "is not carried over: %v", err)
		return
	case r.NumSubexp() == 0:
		p.note(n, "is left out: Promtail puts its text in the place of groups, of which the expression has none, so that it does nothing; a stage of type redact would hide all that matches")
		return
	case strings.Contains(with, "{{"):
		p.note(n, "is not carried over: only a constant in place of a part of the line is understood; write a stage of type redact or set")
		return
	case r.MatchString(""):
		p.note(n, "is not carried over: the expression matches an empty text")
		return
	}
	named := slices.DeleteFunc(r.SubexpNames(), func(name string) bool { return name == "" })
	only := "line"
	if from != "" {
		only = p.read(from)
	}
	for _, name := range named {
		// Promtail extracts what it has put in the place of a named group.
		p.stageIf(matches(p.source(from), pattern), "set", item("values", yaml.MapSlice{item(attribute(name), escape(quote(with)))}))
		p.extract(name)
	}
	p.stage("redact", item("only", only), item("patterns", []any{escape(pattern)}), item("with", escape(with)))
	p.leftOver(n, "expression", "replace", "source")
}

func (p *pipeline) samplingStage(n node) {
	rate, err := strconv.ParseFloat(n.get("rate").text(), 64)
	if err != nil || rate <= 0 || rate > 1 {
		p.note(n, "is not carried over: its rate is not between 0 and 1")
		return
	}
	p.stage("sample", item("one_in", max(1, int(math.Round(1/rate)))))
	p.leftOver(n, "rate")
}
