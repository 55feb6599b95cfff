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

// pipeline is a job's pipeline while it is made.
type pipeline struct {
	*converter
	docker bool
	out    []any
	// condition is that of the match stage around the present one.
	condition string
	// extracted are the attributes that Promtail would have forgotten at the
	// end, kept those that it sends as structured metadata.
	extracted, kept map[string]bool
}

// stage appends a stage.
func (p *pipeline) stage(typ string, keys ...yaml.MapItem) { p.stageIf("", typ, keys...) }

// stageIf appends a stage with a condition.
func (p *pipeline) stageIf(condition, typ string, keys ...yaml.MapItem) {
	s := yaml.MapSlice{item("type", typ)}
	if condition = and(p.condition, condition); condition != "" {
		s = append(s, item("if", escape(condition)))
	}
	p.out = append(p.out, append(s, keys...))
}

// extract remembers attributes that Promtail forgets at the end of a pipeline.
func (p *pipeline) extract(names ...string) {
	if p.extracted == nil {
		p.extracted, p.kept = map[string]bool{}, map[string]bool{}
	}
	for _, name := range names {
		p.extracted[attribute(name)] = true
	}
}

// cleanUp takes away the attributes that are not to be sent.
func (p *pipeline) cleanUp() {
	var fields []any
	for _, name := range slices.Sorted(maps.Keys(p.extracted)) {
		if !p.kept[name] {
			fields = append(fields, name)
		}
	}
	if len(fields) > 0 {
		p.stage("remove", item("fields", fields))
	}
}

// stages converts a list of stages, under a condition of their own.
func (p *pipeline) stages(list node, condition string) {
	outer := p.condition
	p.condition = and(outer, condition)
	for _, s := range list.list() {
		entries := s.entries()
		if len(entries) == 0 {
			p.note(s, "is no stage")
			continue
		}
		convert := converters[entries[0].key]
		if convert == nil {
			p.note(entries[0].value, "is not carried over: there is no stage that corresponds to it")
			continue
		}
		convert(p, entries[0].value)
	}
	p.condition = outer
}

// converters are the stages of Promtail that are understood.
var converters map[string]func(*pipeline, node)

func init() {
	converters = map[string]func(*pipeline, node){
		"docker": (*pipeline).dockerStage, "cri": func(*pipeline, node) {}, // lines are decoded where they are read
		"json": (*pipeline).jsonStage, "logfmt": (*pipeline).logfmtStage, "regex": (*pipeline).regexStage,
		"timestamp": (*pipeline).timestampStage, "labels": (*pipeline).labelsStage,
		"static_labels": (*pipeline).staticLabelsStage, "labeldrop": (*pipeline).labelDropStage,
		"structured_metadata": (*pipeline).metadataStage, "output": (*pipeline).outputStage,
		"template": (*pipeline).templateStage, "match": (*pipeline).matchStage, "drop": (*pipeline).dropStage,
		"limit": (*pipeline).limitStage, "multiline": (*pipeline).multilineStage, "metrics": (*pipeline).metricsStage,
		"replace": (*pipeline).replaceStage, "sampling": (*pipeline).samplingStage,
	}
}

// dockerStage converts what Promtail does to the engine's own files. Read over
// the API, lines need none of that.
func (p *pipeline) dockerStage(n node) {
	if p.docker {
		return
	}
	p.note(n, "works, but container_monitor reads the engine's files by itself, and knows the names of the containers")
	prefix := temporary + "docker_"
	p.stageIf(`line startsWith "{"`, "json", item("prefix", prefix))
	p.stage("time", item("from", prefix+"time"), item("layouts", []any{"rfc3339"}))
	p.stage("set", item("values", yaml.MapSlice{
		item("label.stream", field(prefix+"stream")), item("line", field(prefix+"log")+" == nil ? nil : trimSuffix("+source(prefix+"log")+`, "\n")`),
	}))
	p.stage("remove", item("fields", []any{prefix + "*"}))
}

// simplePath is an expression of JMESPath that is only names.
var simplePath = regexp.MustCompile(`^(?:[A-Za-z_][A-Za-z0-9_]*|"[^"]+")(?:\.(?:[A-Za-z_][A-Za-z0-9_]*|"[^"]+"))*$`)

func (p *pipeline) jsonStage(n node) {
	prefix := temporary + "json."
	values := yaml.MapSlice{}
	for _, e := range n.get("expressions").entries() {
		path := e.value.text()
		if path == "" {
			path = e.key
		}
		if !simplePath.MatchString(path) {
			p.note(e.value, "is not carried over: of JMESPath only names with points between them are understood, not %q", path)
			continue
		}
		values = append(values, item(attribute(e.key), escape(field(prefix+strings.ReplaceAll(path, `"`, "")))))
		p.extract(e.key)
	}
	from := n.get("source").text()
	keys := []yaml.MapItem{item("prefix", prefix)}
	if from != "" {
		keys = append(keys, item("from", attribute(from)))
	}
	if n.get("drop_malformed").isTrue() {
		keys = append(keys, item("on_error", "drop"))
		p.stage("json", keys...)
	} else {
		p.extract("pipeline_error")
		p.stageIf(source(from)+` startsWith "{"`, "json", keys...)
	}
	if len(values) > 0 {
		p.stage("set", item("values", values))
	}
	p.stage("remove", item("fields", []any{prefix + "*"}))
	p.leftOver(n, "expressions", "source", "drop_malformed")
}

func (p *pipeline) logfmtStage(n node) {
	prefix := temporary + "logfmt."
	values := yaml.MapSlice{}
	for _, e := range n.get("mapping").entries() {
		key := e.value.text()
		if key == "" {
			key = e.key
		}
		values = append(values, item(attribute(e.key), escape(field(prefix+key))))
		p.extract(e.key)
	}
	keys := []yaml.MapItem{item("prefix", prefix)}
	if from := n.get("source").text(); from != "" {
		keys = append(keys, item("from", attribute(from)))
	}
	p.extract("pipeline_error")
	p.stage("logfmt", keys...)
	if len(values) > 0 {
		p.stage("set", item("values", values))
	}
	p.stage("remove", item("fields", []any{prefix + "*"}))
	p.leftOver(n, "mapping", "source")
}

func (p *pipeline) regexStage(n node) {
	pattern, from := n.get("expression").text(), n.get("source").text()
	r, err := regexp.Compile(pattern)
	if err != nil {
		p.note(n, "is not carried over: %v", err)
		return
	}
	named := slices.DeleteFunc(r.SubexpNames(), func(name string) bool { return name == "" })
	if len(named) == 0 {
		p.note(n, "is not carried over: the expression has no named groups")
		return
	}
	p.extract(named...)
	for _, name := range named {
		pattern = strings.ReplaceAll(pattern, "?P<"+name+">", "?P<"+attribute(name)+">")
		pattern = strings.ReplaceAll(pattern, "?<"+name+">", "?P<"+attribute(name)+">")
	}
	keys := []yaml.MapItem{item("pattern", escape(pattern))}
	if from != "" {
		keys = append(keys, item("from", attribute(from)))
	}
	p.stageIf(matches(source(from), pattern), "regex", keys...)
	p.leftOver(n, "expression", "source")
}

// layouts are the names of Promtail's formats of times.
var layouts = map[string]string{
	"RFC3339": "rfc3339", "RFC3339Nano": "rfc3339", "Unix": "unix", "UnixMs": "unix_ms", "UnixUs": "unix_us",
	"UnixNs": "unix_ns", "ANSIC": "ansic", "RFC1123": "rfc1123", "RFC850": "rfc850",
	"RFC1123Z": "Mon, 02 Jan 2006 15:04:05 -0700", "UnixDate": "Mon Jan _2 15:04:05 MST 2006",
	"RubyDate": "Mon Jan 02 15:04:05 -0700 2006", "RFC822": "02 Jan 06 15:04 MST", "RFC822Z": "02 Jan 06 15:04 -0700",
}

func (p *pipeline) timestampStage(n node) {
	var list []any
	for _, format := range append([]node{n.get("format")}, n.get("fallback_formats").list()...) {
		if layout := layouts[format.text()]; layout != "" {
			list = append(list, layout)
		} else if format.text() != "" {
			list = append(list, escape(format.text()))
		}
	}
	keys := []yaml.MapItem{item("from", attribute(n.get("source").text())), item("layouts", slices.Compact(list))}
	if zone := n.get("location").text(); zone != "" {
		keys = append(keys, item("zone", zone))
	}
	p.extract("pipeline_error")
	p.stage("time", keys...)
	if action := n.get("action_on_failure"); action.text() == "fudge" {
		p.note(action, "is not carried over: a record whose time cannot be read has the time of its capture")
	}
	p.leftOver(n, "source", "format", "fallback_formats", "location", "action_on_failure")
}

// assign sets names from the attributes that a stage's keys name.
func (p *pipeline) assign(n node, prefix string) {
	values := yaml.MapSlice{}
	for _, e := range n.entries() {
		from := e.value.text()
		if from == "" {
			from = e.key
		}
		values = append(values, item(prefix+e.key, escape(field(attribute(from)))))
	}
	if len(values) > 0 {
		p.stage("set", item("values", values))
	}
}

func (p *pipeline) labelsStage(n node) { p.assign(n, "label.") }

func (p *pipeline) metadataStage(n node) {
	p.extract()
	for _, e := range n.entries() {
		p.kept[e.key] = true
	}
	p.assign(n, "")
}

func (p *pipeline) staticLabelsStage(n node) {
	values := yaml.MapSlice{}
	for _, e := range n.entries() {
		values = append(values, item("label."+e.key, escape(quote(e.value.text()))))
	}
	p.stage("set", item("values", values))
}

func (p *pipeline) labelDropStage(n node) {
	var fields []any
	for _, name := range n.list() {
		fields = append(fields, "label."+name.text())
	}
	p.stage("remove", item("fields", fields))
}

func (p *pipeline) outputStage(n node) {
	p.stage("set", item("values", yaml.MapSlice{item("line", escape(field(attribute(n.get("source").text()))))}))
}

// templateAction is what stands in the braces of a template of Go.
var (
	templateAction   = regexp.MustCompile(`\{\{-?\s*(.*?)\s*-?\}\}`)
	templateVariable = regexp.MustCompile(`^\.([A-Za-z_][A-Za-z0-9_]*)$`)
	templateCase     = regexp.MustCompile(`^(ToLower|ToUpper)\s+\.([A-Za-z_][A-Za-z0-9_]*)$`)
)

func (p *pipeline) templateStage(n node) {
	to, text := n.get("source").text(), n.get("template").text()
	variable := func(name string) string {
		switch name {
		case "Value":
			return source(to)
		case "Entry":
			return "line"
		}
		return source(name)
	}
	var parts []string
	last := 0
	for _, at := range templateAction.FindAllStringSubmatchIndex(text, -1) {
		if at[0] > last {
			parts = append(parts, quote(text[last:at[0]]))
		}
		last = at[1]
		action := text[at[2]:at[3]]
		if m := templateVariable.FindStringSubmatch(action); m != nil {
			parts = append(parts, variable(m[1]))
		} else if m := templateCase.FindStringSubmatch(action); m != nil {
			parts = append(parts, map[string]string{"ToLower": "lower", "ToUpper": "upper"}[m[1]]+"("+variable(m[2])+")")
		} else {
			p.note(n, "is not carried over: of templates only {{ .name }}, ToLower and ToUpper are understood, not %q; write a stage of type set or template", action)
			return
		}
	}
	if last < len(text) {
		parts = append(parts, quote(text[last:]))
	}
	if len(parts) == 0 {
		parts = []string{`""`}
	}
	p.extract(to)
	p.stage("set", item("values", yaml.MapSlice{item(attribute(to), escape(strings.Join(parts, " + ")))}))
}

func (p *pipeline) matchStage(n node) {
	condition, ok := selector(n.get("selector").text())
	if !ok {
		p.note(n, "is not carried over: of selectors only matchers and line filters are understood, not %q", n.get("selector").text())
		return
	}
	if n.get("action").text() == "drop" {
		reason := n.get("drop_counter_reason").text()
		if reason == "" {
			reason = "match_stage"
		}
		p.stage("filter", item("drop", escape(orTrue(condition))), item("reason", reason))
	} else {
		p.stages(n.get("stages"), condition)
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
	from := n.get("source").text()
	if list := n.get("source").list(); len(list) > 0 {
		if len(list) > 1 {
			p.note(n, "is not carried over: it has several sources; write an expression in a stage of type filter")
			return
		}
		from = list[0].text()
	}
	var conditions []string
	if pattern := n.get("expression").text(); pattern != "" {
		if err := checkPattern(pattern); err != nil {
			p.note(n, "is not carried over: %v", err)
			return
		}
		conditions = append(conditions, matches(source(from), pattern))
	}
	if value := n.get("value"); value.exists() {
		conditions = append(conditions, source(from)+" == "+quote(value.text()))
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
	if len(conditions) == 0 && from != "" {
		conditions = append(conditions, field(attribute(from))+" != nil")
	}
	reason := n.get("drop_counter_reason").text()
	if reason == "" {
		reason = "drop_stage"
	}
	p.stage("filter", item("drop", escape(orTrue(and(conditions...)))), item("reason", reason))
	p.leftOver(n, "source", "expression", "value", "older_than", "longer_than", "drop_counter_reason")
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
	keys := []yaml.MapItem{item("start", escape(pattern))}
	if lines, err := strconv.Atoi(n.get("max_lines").text()); err == nil {
		keys = append(keys, item("max_lines", lines))
	}
	if wait := n.get("max_wait_time").text(); wait != "" {
		keys = append(keys, item("max_wait", wait))
	}
	p.stage("multiline", keys...)
	p.leftOver(n, "firstline", "max_lines", "max_wait_time")
}

func (p *pipeline) replaceStage(n node) {
	with := n.get("replace").text()
	if n.get("source").text() != "" || strings.Contains(with, "{{") {
		p.note(n, "is not carried over: only a constant in place of a part of the line is understood; write a stage of type redact or set")
		return
	}
	p.stage("redact", item("patterns", []any{escape(n.get("expression").text())}), item("with", escape(with)))
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

func (p *pipeline) metricsStage(n node) {
	var list []any
	for _, e := range n.entries() {
		typ := strings.ToLower(e.value.get("type").text())
		from := e.value.get("source").text()
		if from == "" {
			from = e.key
		}
		config := e.value.get("config")
		action := strings.ToLower(config.get("action").text())
		number := "float(" + field(attribute(from)) + " ?? 0)"
		metric := yaml.MapSlice{}
		prefix := "promtail_custom_"
		if own := e.value.get("prefix"); own.exists() {
			prefix = own.text()
		}
		metric = append(metric, item("name", prefix+e.key), item("type", typ))
		if help := e.value.get("description").text(); help != "" {
			metric = append(metric, item("help", escape(help)))
		}
		switch {
		case typ == "counter" && action == "inc" && config.get("match_all").isTrue():
		case typ == "counter" && action == "inc" && config.get("value").exists():
			metric = append(metric, item("value", escape(source(from)+" == "+quote(config.get("value").text())+" ? 1 : 0")))
		case typ == "counter" && action == "inc":
			metric = append(metric, item("value", escape(field(attribute(from))+" != nil ? 1 : 0")))
		case typ == "counter" && action == "add", typ == "gauge" && action == "set", typ == "histogram":
			metric = append(metric, item("value", escape(number)))
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
		p.note(e.value, "the metric has no labels here; those of Promtail are all labels of the stream: name in labels which are wanted")
		list = append(list, metric)
	}
	if len(list) > 0 {
		p.stage("metrics", item("metrics", list))
	}
}
