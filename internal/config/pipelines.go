package config

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"

	"log_capturer/internal/pipeline"
	"log_capturer/internal/spelling"
)

// Pipeline is what becomes of the records of some sources on their way to the
// sinks.
type Pipeline struct {
	// The pipeline's name in metrics, messages and the label
	// `log_capturer.pipeline`. No two pipelines have the same.
	Name string `yaml:"name"`
	// The sources whose records go through it: those that match any pattern of
	// any list. The first pipeline that selects a source is taken. Without
	// patterns, only containers that name it by a label.
	Select pipeline.Selection `yaml:"select"`
	// The stages, in the order in which they work.
	Stages []Stage `yaml:"stages"`
}

// Stage is one stage of a pipeline. The options are those of its type.
type Stage struct{ pipeline.Stage }

var stageTypes = pipeline.Types()

// decodeNode decodes a stage, whose keys and defaults depend on its type.
func (s *Stage) decodeNode(d *decoder, n *node, path string) {
	if n.kind != mapping {
		d.fail(n.pos, path, "want a section, not %s", n.kind)
		return
	}
	e := n.get("type")
	if e == nil {
		d.fail(n.pos, path, "type is missing; it is %s", enumerate(stageTypes))
		return
	}
	typePath := join(path, "type")
	typ, ok := d.scalar(e.value, typePath, "a text")
	if !ok {
		return
	}
	if message := notOneOf(typ, stageTypes); message != "" {
		d.fail(e.value.pos, typePath, "%s", message)
		// The other keys are checked against the type that was meant.
		if typ, ok = spelling.Nearest(typ, stageTypes); !ok {
			return
		}
		n = without(n, e)
	}
	s.Type, s.Options = typ, pipeline.NewOptions(typ)
	d.decodeFields(n, s.fields(), path)
}

// fields returns the keys of a stage.
func (s *Stage) fields() []field {
	keys := []field{{"type", reflect.ValueOf(&s.Type).Elem(), ""}}
	keys = append(keys, fields(reflect.ValueOf(&s.Common).Elem())...)
	return append(keys, fields(reflect.ValueOf(s.Options).Elem())...)
}

// MarshalYAML returns the keys of the stage in their order.
func (s Stage) MarshalYAML() (any, error) {
	var keys yaml.MapSlice
	for _, f := range s.fields() {
		keys = append(keys, yaml.MapItem{Key: f.key, Value: f.value.Interface()})
	}
	return keys, nil
}

// CompilePipelines returns the pipelines of a valid configuration, which count
// in metrics.
func (c *Config) CompilePipelines(metrics *pipeline.Metrics) (*pipeline.Table, error) {
	return pipeline.NewTable(c.definitions(), c.sinkNames(), metrics)
}

func (c *Config) definitions() []pipeline.Definition {
	definitions := make([]pipeline.Definition, len(c.Pipelines))
	for i, p := range c.Pipelines {
		definitions[i] = pipeline.Definition{Name: p.Name, Select: p.Select}
		for _, s := range p.Stages {
			definitions[i].Stages = append(definitions[i].Stages, s.Stage)
		}
	}
	return definitions
}

func (c *Config) sinkNames() []string {
	names := make([]string, len(c.Sinks))
	for i, s := range c.Sinks {
		names[i] = s.Name
	}
	return names
}

// pipelines checks the pipelines by compiling them.
func (v validator) pipelines(c *Config) {
	if v.failedWithin("sinks") {
		return // their names are not known
	}
	definitions := c.definitions()
	for i := range definitions {
		path := fmt.Sprintf("pipelines[%d]", i)
		stages := definitions[i].Stages
		if len(stages) == 0 {
			v.wrong(path+".stages", "is empty; give a stage")
		}
		for j := range stages {
			// What is wrong with this one is reported; the others are checked.
			if v.failedWithin(fmt.Sprintf("%s.stages[%d]", path, j)) {
				stages[j] = pipeline.Stage{Type: "level", Options: pipeline.NewOptions("level")}
			}
		}
	}
	_, err := pipeline.NewTable(definitions, c.sinkNames(), pipeline.NewMetrics())
	for _, e := range pipeline.OptionErrors(err) {
		v.wrong(e.Key, "%s", e.Message)
	}
}

// failedWithin reports whether a key at path or below could not be decoded.
func (v validator) failedWithin(path string) bool {
	for failed := range v.failed {
		rest, ok := strings.CutPrefix(failed, path)
		if ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}
