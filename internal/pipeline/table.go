package pipeline

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"log_capturer/internal/record"
)

// Definition is a pipeline as it is configured.
type Definition struct {
	// The pipeline's name, by which containers and metrics name it.
	Name string
	// Select chooses the sources.
	Select Selection
	Stages []Stage
}

// Table is all pipelines of a configuration. It is immutable, and may be used from
// any number of goroutines.
type Table struct {
	sinks     []string
	metrics   *Metrics
	pipelines []*Pipeline
	selects   []Selection
	stages    [][]Stage
}

var pipelineName = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)

// NoPipeline is the name by which a container chooses to go through none.
const NoPipeline = "none"

// NewTable compiles the pipelines. The sinks are the names of the configured ones,
// in their order. The error holds an OptionError for each thing that is wrong,
// its key preceded by "pipelines[i].".
func NewTable(definitions []Definition, sinks []string, metrics *Metrics) (*Table, error) {
	s := &Table{sinks: sinks, metrics: metrics}
	var errs []error
	if len(sinks) > MaxSinks && len(definitions) > 0 {
		errs = append(errs, wrong("pipelines", "work with up to %d sinks", MaxSinks))
	}
	for i := range definitions {
		d := &definitions[i]
		p, err := Compile(d.Name, d.Stages, sinks, metrics)
		err = errors.Join(err, d.Select.check(), s.checkName(d.Name))
		for _, e := range OptionErrors(err) {
			errs = append(errs, &OptionError{fmt.Sprintf("pipelines[%d].%s", i, e.Key), e.Message})
		}
		if p == nil {
			p = &Pipeline{name: d.Name}
		}
		s.pipelines = append(s.pipelines, p)
		s.selects = append(s.selects, d.Select)
		s.stages = append(s.stages, d.Stages)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return s, nil
}

func (s *Table) checkName(name string) error {
	switch {
	case name == NoPipeline || !pipelineName.MatchString(name):
		return wrong("name", "want up to 64 of a-z, 0-9, _ and -, and not %q", shorten(name))
	case s.named(name) >= 0:
		return wrong("name", "another pipeline has the name %q already; give each its own", name)
	}
	return nil
}

func (s *Table) named(name string) int {
	return slices.IndexFunc(s.pipelines, func(p *Pipeline) bool { return p.name == name })
}

// Named returns the pipeline of a name, or nil.
func (s *Table) Named(name string) *Pipeline {
	if i := s.named(name); i >= 0 {
		return s.pipelines[i]
	}
	return nil
}

// Place returns the place of a sink among those that the table was compiled with,
// -1 for one that was not.
func (s *Table) Place(sink string) int { return slices.Index(s.sinks, sink) }

// Names returns the names of the pipelines, in their order.
func (s *Table) Names() []string {
	names := make([]string, len(s.pipelines))
	for i, p := range s.pipelines {
		names[i] = p.name
	}
	return names
}

// Choice is how the records of a source are treated.
type Choice struct {
	// Pipeline is nil for a source that goes through none.
	Pipeline *Pipeline
	// Sinks are those that records go to which no stage routes.
	Sinks SinkSet
	// Warnings say what of the container's labels could not be followed.
	Warnings []string
}

// The labels by which a container chooses for itself.
const (
	EnableLabel    = "log_capturer.enable"
	PipelineLabel  = "log_capturer.pipeline"
	MultilineLabel = "log_capturer.multiline"
	SinksLabel     = "log_capturer.sinks"

	elasticEnabled = "co.elastic.logs/enabled"
	elasticPattern = "co.elastic.logs/multiline.pattern"
	elasticNegate  = "co.elastic.logs/multiline.negate"
	elasticMatch   = "co.elastic.logs/multiline.match"
)

// logspout is the label, and the variable of a container's environment, with
// which logspout's users have it ignore a container.
const logspout = "LOGSPOUT"

// Enabled reports whether a container says by its labels that it is to be
// captured or not, and by which; by is empty where none says anything.
func Enabled(labels map[string]string) (enabled bool, by string) {
	for _, name := range []string{EnableLabel, elasticEnabled} {
		switch strings.ToLower(labels[name]) {
		case "true", "1", "yes":
			return true, name
		case "false", "0", "no":
			return false, name
		}
	}
	if strings.EqualFold(labels[logspout], "ignore") {
		return false, logspout
	}
	return true, ""
}

// Ignored reports whether a container says by its environment, as KEY=value, that
// it is not to be captured.
func Ignored(environment []string) bool {
	return slices.ContainsFunc(environment, func(variable string) bool {
		name, value, _ := strings.Cut(variable, "=")
		return name == logspout && strings.EqualFold(value, "ignore")
	})
}

// For returns how the records of a source are treated: by the pipeline that the
// container's label names, else by the first that selects the source, with the
// multiline stage of the container's labels before its stages.
func (s *Table) For(src *record.Source) Choice {
	var c Choice
	place := slices.IndexFunc(s.selects, func(sel Selection) bool { return sel.Matches(src) })
	if name, ok := src.Labels[PipelineLabel]; ok {
		switch i := s.named(name); {
		case name == NoPipeline:
			place = -1
		case i >= 0:
			place = i
		default:
			c.warn(PipelineLabel, "there is no pipeline %q", shorten(name))
		}
	}
	if place >= 0 {
		c.Pipeline = s.pipelines[place]
	}
	if text, ok := src.Labels[SinksLabel]; ok {
		c.Sinks = s.sinksOf(text, &c)
	}
	options, label, err := labelMultiline(src.Labels)
	if err == nil && options != nil {
		err = s.prepend(&c, place, options)
	}
	if err != nil {
		c.warn(label, "%s", err)
	}
	return c
}

func (c *Choice) warn(label, format string, args ...any) {
	c.Warnings = append(c.Warnings, "label "+label+": "+fmt.Sprintf(format, args...))
}

// sinksOf returns the sinks of a list with commas. With none that is known, all
// are: a record is better sent to too many than to none.
func (s *Table) sinksOf(text string, c *Choice) SinkSet {
	var set SinkSet
	for name := range strings.SplitSeq(text, ",") {
		if i := slices.Index(s.sinks, strings.TrimSpace(name)); i >= 0 && i < MaxSinks {
			set |= 1 << i
		} else {
			c.warn(SinksLabel, "there is no sink %q", shorten(name))
		}
	}
	return set
}

// prepend puts a multiline stage before the stages of the chosen pipeline.
func (s *Table) prepend(c *Choice, place int, options *Multiline) error {
	name, stages := "labels", []Stage(nil)
	if place >= 0 {
		name, stages = s.pipelines[place].name, s.stages[place]
	}
	first := Stage{Type: "multiline", Options: options}
	// The metrics that the stages make from logs are those of the pipeline.
	p, err := Compile(name, append([]Stage{first}, stages...), s.sinks, s.metrics)
	if err != nil {
		return OptionErrors(err)[0]
	}
	c.Pipeline = p
	return nil
}

// labelMultiline returns the multiline options of a container's labels, and the
// label that they come from; nil where it has none.
//
//	log_capturer.multiline: java | start:REGEX | continuation:REGEX | end:REGEX | unfinished:REGEX
//	co.elastic.logs/multiline.pattern, .negate and .match, as Filebeat's
func labelMultiline(labels map[string]string) (*Multiline, string, error) {
	options := NewOptions("multiline").(*Multiline)
	if text := labels[MultilineLabel]; text != "" {
		options.Preset = text
		for prefix, option := range map[string]*string{
			"start:": &options.Start, "continuation:": &options.Continuation, "end:": &options.End, "unfinished:": &options.Unfinished,
		} {
			if pattern, ok := strings.CutPrefix(text, prefix); ok {
				options.Preset, *option = "", pattern
			}
		}
		return options, MultilineLabel, nil
	}
	text := labels[elasticPattern]
	if text == "" {
		return nil, "", nil
	}
	// Without negation those that match are joined to what is before them ("after")
	// or behind them ("before"); with it those that do not.
	negated := labels[elasticNegate] == "true"
	switch match := labels[elasticMatch]; {
	case match != "" && match != "after" && match != "before":
		return nil, elasticMatch, fmt.Errorf("want after or before, not %q", shorten(match))
	case match == "before" && negated:
		options.End = text
	case match == "before":
		options.Unfinished = text
	case negated:
		options.Start = text
	default:
		options.Continuation = text
	}
	return options, elasticPattern, nil
}
