package promtail

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// dockerStage converts what Promtail does to the engine's own files. Read over
// the API, lines need none of that.
func (p *pipeline) dockerStage(n node) {
	if p.kind == containers {
		return
	}
	p.note(n, "works, but container_monitor reads the engine's files by itself, and knows the names of the containers")
	prefix := temporary + "docker_"
	p.stageIf(`line startsWith "{"`, "json", item("prefix", prefix))
	p.stage("time", item("from", prefix+"time"), item("layouts", []any{"rfc3339"}))
	p.stage("set", item("values", yaml.MapSlice{
		item("label.stream", field(prefix+"stream")),
		item("line", field(prefix+"log")+" == nil ? nil : trimSuffix(string("+field(prefix+"log")+` ?? ""), "\n")`),
		item("output", field(prefix+"log")), item("stream", field(prefix+"stream")), item("timestamp", field(prefix+"time")),
	}))
	p.stage("remove", item("fields", []any{prefix + "*"}))
	p.hasLabel("stream")
	p.extract("output", "stream", "timestamp", "pipeline_error")
}

// criStage has nothing to decode: lines are decoded where they are read.
func (p *pipeline) criStage(node) {
	if p.cri {
		p.set("label.stream", "stream")
		p.hasLabel("stream")
	}
}

// simplePath is an expression of JMESPath that is only names.
var simplePath = regexp.MustCompile(`^(?:[A-Za-z_][A-Za-z0-9_]*|"[^"]+")(?:\.(?:[A-Za-z_][A-Za-z0-9_]*|"[^"]+"))*$`)

// jsonPath returns the expression of what one of JMESPath gives, where it is names
// with points between them, or several of these with || between them, and what
// begins the names of its entries if it is an object.
func jsonPath(path string, prefixes []string) (expression, object string, ok bool) {
	var parts []string
	for _, alternative := range strings.Split(path, "||") {
		alternative = strings.TrimSpace(alternative)
		if !simplePath.MatchString(alternative) {
			return "", "", false
		}
		name := strings.ReplaceAll(alternative, `"`, "")
		for _, prefix := range prefixes {
			parts = append(parts, field(prefix+name))
		}
		object = prefixes[0] + name + "."
	}
	return strings.Join(parts, " ?? "), object, true
}

func (p *pipeline) jsonStage(n node) {
	p.jsons++
	prefix := fmt.Sprintf("%sjson%d.", temporary, p.jsons)
	from := n.get("source").text()
	prefixes := []string{prefix}
	if object := p.objects[from]; from != "" && object != "" {
		prefixes = append(prefixes, object)
	}
	values, keep := yaml.MapSlice{}, false
	for _, e := range n.get("expressions").entries() {
		path := e.value.text()
		if path == "" {
			path = e.key
		}
		expression, object, ok := jsonPath(path, prefixes)
		if !ok {
			p.note(e.value, "is not carried over: of JMESPath only names with points between them are understood, not %q", path)
			continue
		}
		values = append(values, item(attribute(e.key), escape(expression)))
		p.extract(e.key)
		delete(p.objects, e.key)
		if p.parsed[e.key] {
			p.objects[e.key], keep = object, true
		}
	}
	keys := append([]yaml.MapItem{item("prefix", prefix)}, p.from(from)...)
	p.extract("pipeline_error")
	if n.get("drop_malformed").isTrue() {
		p.stage("json", append(keys, item("on_error", "drop"))...)
	} else {
		p.stageIf("trim("+p.source(from)+`) startsWith "{"`, "json", keys...)
	}
	if len(values) > 0 {
		p.stage("set", item("values", values))
	}
	if keep {
		p.extracted[prefix+"*"] = true
	} else {
		p.stage("remove", item("fields", []any{prefix + "*"}))
	}
	p.leftOver(n, "expressions", "source", "drop_malformed")
}

// findParsed remembers the attributes that stages parse as JSON.
func (p *pipeline) findParsed(stages node) {
	for _, s := range stages.list() {
		if from := s.get("json").get("source").text(); from != "" {
			p.parsed[from] = true
		}
		p.findParsed(s.get("match").get("stages"))
	}
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
	p.extract("pipeline_error")
	p.stage("logfmt", append([]yaml.MapItem{item("prefix", prefix)}, p.from(n.get("source").text())...)...)
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
		delete(p.objects, name)
	}
	keys := append([]yaml.MapItem{item("pattern", escape(pattern))}, p.from(from)...)
	p.stageIf(matches(p.source(from), pattern), "regex", keys...)
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
	keys := []yaml.MapItem{item("from", p.read(n.get("source").text())), item("layouts", slices.Compact(list))}
	if zone := n.get("location").text(); zone != "" {
		keys = append(keys, item("zone", zone))
	}
	p.extract("pipeline_error")
	p.stage("time", keys...)
	if action := n.get("action_on_failure"); action.text() == "fudge" {
		p.note(action, "is not carried over: a record whose time cannot be read has the time of its capture")
	} else if !action.exists() && p.kind == files {
		p.note(n, "a record whose time cannot be read has the time of its capture, and not that of the one before it")
	}
	p.leftOver(n, "source", "format", "fallback_formats", "location", "action_on_failure")
}
