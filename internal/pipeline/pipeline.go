package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"log_capturer/internal/record"
)

// Stage is one stage of a pipeline as it is configured.
type Stage struct {
	// Type is one of Types.
	Type string
	Common
	// Options are those of the type, made by NewOptions.
	Options Options
}

// Options are the options of one type of stage.
type Options interface {
	// compile checks the options and returns the stage. The errors are
	// *OptionError, joined where there are several.
	compile(c *compiler) (stage, error)
}

// stage is a compiled stage. It is immutable, and used by many runs at once.
type stage interface {
	// open returns what the stage remembers of one source.
	open(r *Run) instance
}

// instance is a stage at work on one source.
type instance interface {
	// process does the stage's work on e. It calls next for each event that
	// goes on, which is e itself most often; where it does not, drop was called
	// or the instance holds a copy of e. On error nothing was done to e. The
	// events of one stream go on in the order in which they came.
	process(e *Event, next func(*Event)) error
}

// flusher is an instance that holds events back.
type flusher interface {
	// flush sends on what is held, all of it or what has been held since
	// before the given time of the wall clock.
	flush(before time.Time, all bool, next func(*Event))
	// release sends on what is held of a stream.
	release(stream record.Stream, next func(*Event))
	// oldest returns the oldest event of a stream that is held, or nil.
	oldest(stream record.Stream) *Event
}

// compiler is what the stages of one pipeline are compiled with.
type compiler struct {
	sinks   []string
	metrics *Metrics
}

// sinkSet returns the set of the named sinks.
func (c *compiler) sinkSet(key string, names []string) (SinkSet, error) {
	var set SinkSet
	var errs []error
	for i, name := range names {
		place := slices.Index(c.sinks, name)
		if place < 0 {
			errs = append(errs, wrong(fmt.Sprintf("%s[%d]", key, i), "there is no sink %q; there are %s", shorten(name), strings.Join(c.sinks, ", ")))
			continue
		}
		set |= 1 << place
	}
	return set, errors.Join(errs...)
}

// Pipeline is a compiled list of stages. It is immutable, and may be used from
// any number of goroutines.
type Pipeline struct {
	name    string
	stages  []compiled
	metrics *Metrics
}

// compiled is a stage with what all stages have.
type compiled struct {
	name    string
	typ     string
	stage   stage
	when    *expression
	onError onError
}

type onError struct {
	drop  bool
	route SinkSet
}

// Compile returns the pipeline of the given stages. The sinks are the names of
// the configured ones, in their order. The error holds an OptionError for each
// thing that is wrong, its key preceded by "stages[i].".
func Compile(name string, stages []Stage, sinks []string, metrics *Metrics) (*Pipeline, error) {
	p := &Pipeline{name: name, metrics: metrics}
	c := &compiler{sinks: sinks, metrics: metrics}
	var errs []error
	for i := range stages {
		done, err := c.stage(&stages[i])
		p.stages = append(p.stages, done)
		for _, e := range OptionErrors(err) {
			errs = append(errs, &OptionError{strings.TrimSuffix(fmt.Sprintf("stages[%d].%s", i, e.Key), "."), e.Message})
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return p, nil
}

// OptionErrors returns the single errors of what Compile returned.
func OptionErrors(err error) []*OptionError {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*OptionError
		for _, e := range joined.Unwrap() {
			all = append(all, OptionErrors(e)...)
		}
		return all
	}
	if e, ok := errors.AsType[*OptionError](err); ok {
		return []*OptionError{e}
	}
	return []*OptionError{{"", err.Error()}}
}

func (c *compiler) stage(s *Stage) (compiled, error) {
	out := compiled{name: s.Name, typ: s.Type}
	if out.name == "" {
		out.name = s.Type
	}
	var errs []error
	var err error
	if s.If != "" {
		if out.when, err = condition("if", s.If); err != nil {
			errs = append(errs, err)
		}
	}
	if out.onError, err = c.onError(s.OnError); err != nil {
		errs = append(errs, err)
	}
	if out.stage, err = s.Options.compile(c); err != nil {
		errs = append(errs, err)
	}
	return out, errors.Join(errs...)
}

func (c *compiler) onError(text string) (onError, error) {
	if name, ok := strings.CutPrefix(text, "route:"); ok {
		set, err := c.sinkSet("on_error", []string{name})
		if err != nil {
			return onError{}, wrong("on_error", "%s", OptionErrors(err)[0].Message)
		}
		return onError{route: set}, nil
	}
	switch text {
	case "", "keep":
		return onError{}, nil
	case "drop":
		return onError{drop: true}, nil
	}
	return onError{}, wrong("on_error", "want keep, drop or route:SINK, not %q", shorten(text))
}

// Name returns the pipeline's name.
func (p *Pipeline) Name() string { return p.name }

// Len returns the number of stages.
func (p *Pipeline) Len() int { return len(p.stages) }

// StageName returns the name of the i-th stage.
func (p *Pipeline) StageName(i int) string { return p.stages[i].name }

// Observer is told what stages do, to explain a pipeline. Its methods may be
// nil.
type Observer struct {
	// Before is called with an event before stage i works on it. Skipped says
	// that the stage's condition is false.
	Before func(i int, e *Event, skipped bool)
	// After is called with each event that leaves stage i.
	After func(i int, e *Event)
	// Failed is called when stage i failed.
	Failed func(i int, err error)
	// Dropped is called when stage i dropped an event.
	Dropped func(i int, e *Event, reason string)
}

// Run is the use of a pipeline for one source.
type Run struct {
	source *record.Source
	links  []link
	env    *environment
	out    func(*Event)
	watch  *Observer
	// Now is the wall clock, by which held lines age. It is time.Now unless a
	// test replaces it.
	now func() time.Time
}

// link is a stage in a run, with what comes after it.
type link struct {
	*compiled
	instance instance
	next     func(*Event)
	stats    *stageStats
}

// Open returns a run of p for a source. What comes out of the last stage is
// given to out, which may use the event until it returns.
func (p *Pipeline) Open(source *record.Source, out func(*Event), watch *Observer) *Run {
	r := &Run{source: source, out: out, watch: watch, now: time.Now, env: newEnvironment(source)}
	r.links = make([]link, len(p.stages))
	for i := range p.stages {
		l := &r.links[i]
		l.compiled = &p.stages[i]
		l.stats = p.metrics.stage(p.name, l.name)
		l.instance = l.stage.open(r)
		l.next = func(e *Event) {
			if r.watch != nil && r.watch.After != nil {
				r.watch.After(i, e)
			}
			r.step(i+1, e)
		}
	}
	return r
}

// Process puts an event in. The event and what it points to stay the caller's,
// and may be used again when Process has returned.
func (r *Run) Process(e *Event) {
	if e.Count == 0 {
		e.Count = 1
	}
	r.step(0, e)
}

// step takes an event into the i-th stage.
func (r *Run) step(i int, e *Event) {
	if i == len(r.links) {
		r.out(e)
		return
	}
	l := &r.links[i]
	if l.when != nil {
		ok, err := l.when.bool(r.env, e)
		if err != nil {
			r.failed(i, e, err)
			return
		}
		if !ok {
			if r.watch != nil && r.watch.Before != nil {
				r.watch.Before(i, e, true)
			}
			r.release(i, i+1, e.Stream)
			r.step(i+1, e)
			return
		}
	}
	if r.watch != nil && r.watch.Before != nil {
		r.watch.Before(i, e, false)
	}
	if err := l.instance.process(e, l.next); err != nil {
		r.failed(i, e, err)
	}
}

// failed does with an event what the stage's on_error says.
func (r *Run) failed(i int, e *Event, err error) {
	l := &r.links[i]
	l.stats.failed(reasonOf(err))
	if r.watch != nil && r.watch.Failed != nil {
		r.watch.Failed(i, err)
	}
	if l.onError.drop {
		r.drop(i, e, "on_error")
		return
	}
	// With all attributes taken, the count alone tells of the failure.
	_ = e.Set(ErrorField, TextValue(l.name+": "+err.Error()))
	r.release(i, i+1, e.Stream)
	if l.onError.route != 0 {
		r.release(i+1, len(r.links), e.Stream)
		e.Sinks = l.onError.route
		if r.watch != nil && r.watch.After != nil {
			r.watch.After(i, e)
		}
		r.out(e)
		return
	}
	l.next(e)
}

// ErrorField is the attribute of an event that a stage failed on.
const ErrorField = "pipeline_error"

// drop counts an event that goes no further.
func (r *Run) drop(i int, e *Event, reason string) {
	r.links[i].stats.drop(reason, e.Count)
	if r.watch != nil && r.watch.Dropped != nil {
		r.watch.Dropped(i, e, reason)
	}
}

// dropper is kept by an instance that may drop events.
type dropper struct {
	r *Run
	i int
}

func (r *Run) dropper() dropper { return dropper{r, r.opening()} }

// opening returns the place of the stage that is being opened.
func (r *Run) opening() int {
	return slices.IndexFunc(r.links, func(l link) bool { return l.instance == nil })
}

func (d dropper) drop(e *Event, reason string) { d.r.drop(d.i, e, reason) }

// Flush sends on what stages have held for longer than they may.
func (r *Run) Flush() { r.flush(false) }

// Close sends on everything that stages hold. The run can be used further.
func (r *Run) Close() { r.flush(true) }

func (r *Run) flush(all bool) {
	now := r.now()
	for i := range r.links {
		if f, ok := r.links[i].instance.(flusher); ok {
			f.flush(now, all, r.links[i].next)
		}
	}
}

// release sends on what the stages from i to before end hold of a stream, so
// that an event that goes past them does not overtake it.
func (r *Run) release(i, end int, stream record.Stream) {
	for ; i < end; i++ {
		if f, ok := r.links[i].instance.(flusher); ok {
			f.release(stream, r.links[i].next)
		}
	}
}

// Holds reports whether a stage holds anything back.
func (r *Run) Holds() bool {
	for s := range record.Stream(record.NumStreams) {
		if r.Oldest(s) != nil {
			return true
		}
	}
	return false
}

// Oldest returns the oldest event of a stream that is held back, or nil. The
// records of a stream go on in order, so that all before it are done.
func (r *Run) Oldest(stream record.Stream) *Event {
	for i := len(r.links) - 1; i >= 0; i-- {
		if f, ok := r.links[i].instance.(flusher); ok {
			if e := f.oldest(stream); e != nil {
				return e
			}
		}
	}
	return nil
}

// Through returns a pipeline without stages, for sources of which the container's
// labels name the sinks alone.
func Through() *Pipeline { return &Pipeline{name: NoPipeline, metrics: NewMetrics()} }
