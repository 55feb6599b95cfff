package promtail

import (
	"maps"
	"slices"
	"strconv"

	"github.com/goccy/go-yaml"
)

// kind is what a job captures.
type kind uint8

const (
	containers kind = iota
	files
	pods
)

// pipeline is a job's pipeline while it is made.
type pipeline struct {
	*converter
	kind kind
	cri  bool
	out  []any
	// condition is that of the match stage, or of the job, around the present
	// stage.
	condition string
	// labels are those that records may have by now.
	labels map[string]bool
	// defined are the expressions of labels that rules have set.
	defined map[string]string
	// extracted are the attributes that Promtail would have forgotten at the
	// end, kept those that it sends as structured metadata.
	extracted, kept map[string]bool
	// objects are the attributes that may be objects of JSON, with what begins
	// the names of their entries; parsed are those that a stage parses.
	objects map[string]string
	parsed  map[string]bool
	scopes  []*scope
	// chosen says that rules which keep containers have been followed already.
	chosen  bool
	jsons   int
	matches int
}

// scope is a list of stages at whose beginning Promtail makes attributes of the
// labels.
type scope struct {
	at        int
	condition string
	known     map[string]bool
	read      map[string]bool
}

func newPipeline(c *converter, k kind) *pipeline {
	return &pipeline{
		converter: c, kind: k, labels: map[string]bool{}, defined: map[string]string{},
		extracted: map[string]bool{}, kept: map[string]bool{}, objects: map[string]string{}, parsed: map[string]bool{},
	}
}

// stage appends a stage.
func (p *pipeline) stage(typ string, keys ...yaml.MapItem) { p.stageIf("", typ, keys...) }

// stageIf appends a stage with a condition.
func (p *pipeline) stageIf(condition, typ string, keys ...yaml.MapItem) {
	p.out = append(p.out, makeStage(and(p.condition, condition), typ, keys...))
}

func makeStage(condition, typ string, keys ...yaml.MapItem) yaml.MapSlice {
	s := yaml.MapSlice{item("type", typ)}
	if condition != "" {
		s = append(s, item("if", escape(condition)))
	}
	return append(s, keys...)
}

// set appends a stage that sets one thing.
func (p *pipeline) set(name, expression string) {
	p.stage("set", item("values", yaml.MapSlice{item(name, escape(expression))}))
}

// hasLabel remembers that records may have a label.
func (p *pipeline) hasLabel(name string) { p.labels[name] = true }

// extract remembers attributes that Promtail forgets at the end of a pipeline.
func (p *pipeline) extract(names ...string) {
	for _, name := range names {
		p.extracted[attribute(name)] = true
	}
}

// begin begins a list of stages, which end ends.
func (p *pipeline) begin() {
	p.scopes = append(p.scopes, &scope{len(p.out), p.condition, maps.Clone(p.labels), map[string]bool{}})
}

// end puts before the stages what makes attributes of those labels that the
// stages look at by that name.
func (p *pipeline) end() {
	s := p.scopes[len(p.scopes)-1]
	p.scopes = p.scopes[:len(p.scopes)-1]
	values := yaml.MapSlice{}
	for _, name := range slices.Sorted(maps.Keys(s.read)) {
		values = append(values, item(attribute(name), escape(label(name))))
		p.extract(name)
	}
	if len(values) > 0 {
		p.out = slices.Insert(p.out, s.at, any(makeStage(s.condition, "set", item("values", values))))
	}
}

// read returns what an attribute of Promtail is called here, and remembers that
// a stage looks at it.
func (p *pipeline) read(name string) string {
	for _, s := range p.scopes {
		if s.known[name] {
			s.read[name] = true
		}
	}
	return attribute(name)
}

// source returns the expression of what a stage of Promtail looks at: the line
// where it names nothing.
func (p *pipeline) source(of string) string {
	if of == "" {
		return "line"
	}
	return "string(" + field(p.read(of)) + ` ?? "")`
}

// from is the key for what a stage parses, where that is not the line.
func (p *pipeline) from(of string) []yaml.MapItem {
	if of == "" {
		return nil
	}
	return []yaml.MapItem{item("from", p.read(of))}
}

// under makes the stages that body appends work on records for which a condition
// is true at this place, whatever they change.
func (p *pipeline) under(condition string, body func()) {
	outer, at := p.condition, len(p.out)
	p.matches++
	mark := temporary + "match_" + strconv.Itoa(p.matches)
	p.condition = field(mark) + " == true"
	p.begin()
	body()
	p.end()
	p.condition = outer
	if len(p.out) > at {
		p.out = slices.Insert(p.out, at, any(makeStage(outer, "set", item("values", yaml.MapSlice{item(mark, escape(condition+" ? true : nil"))}))))
		p.extracted[temporary+"*"] = true
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
	for _, name := range reserved {
		if p.kept[attribute(name)] {
			p.stage("rename", item("fields", yaml.MapSlice{item(attribute(name), name)}))
		}
	}
}

// allStages converts the stages of a job.
func (p *pipeline) allStages(list node) {
	p.findParsed(list)
	p.begin()
	p.stages(list)
	p.end()
}

// maxStages bounds the stages of a file, which aliases can make many of a few.
const maxStages = 10_000

// stages converts a list of stages.
func (p *pipeline) stages(list node) {
	for _, s := range list.list() {
		entries := s.entries()
		if len(entries) == 0 {
			p.note(s, "is no stage")
			continue
		}
		if p.count++; p.count > maxStages {
			p.note(s, "is not carried over: there are more than %d stages", maxStages)
			return
		}
		for _, e := range entries[1:] {
			p.note(e.value, "is not carried over: a stage is one key alone")
		}
		convert := converters[entries[0].key]
		if convert == nil {
			p.note(entries[0].value, "is not carried over: there is no stage that corresponds to it")
			continue
		}
		convert(p, entries[0].value)
	}
}

// converters are the stages of Promtail that are understood.
var converters map[string]func(*pipeline, node)

func init() {
	converters = map[string]func(*pipeline, node){
		"docker": (*pipeline).dockerStage, "cri": (*pipeline).criStage,
		"json": (*pipeline).jsonStage, "logfmt": (*pipeline).logfmtStage, "regex": (*pipeline).regexStage,
		"timestamp": (*pipeline).timestampStage, "labels": (*pipeline).labelsStage,
		"static_labels": (*pipeline).staticLabelsStage, "labeldrop": (*pipeline).labelDropStage,
		"labelallow": (*pipeline).labelAllowStage, "pack": (*pipeline).packStage, "decolorize": (*pipeline).decolorizeStage,
		"structured_metadata": (*pipeline).metadataStage, "output": (*pipeline).outputStage,
		"template": (*pipeline).templateStage, "match": (*pipeline).matchStage, "drop": (*pipeline).dropStage,
		"limit": (*pipeline).limitStage, "multiline": (*pipeline).multilineStage, "metrics": (*pipeline).metricsStage,
		"replace": (*pipeline).replaceStage, "sampling": (*pipeline).samplingStage, "tenant": (*pipeline).tenantStage,
	}
}
