package pipeline

import (
	"errors"

	"log_capturer/internal/record"
)

// Condition is an expression that is true or false of a record, for those who
// look at records beside the pipelines. It remembers the source that it was asked
// about last, and is for one goroutine.
type Condition struct {
	expression *expression
	source     *record.Source
	env        *environment
}

// NewCondition compiles an expression, or says what is wrong with it.
func NewCondition(text string) (*Condition, error) {
	x, err := condition("", text)
	if err != nil {
		if wrong := OptionErrors(err); len(wrong) > 0 {
			return nil, errors.New(wrong[0].Message)
		}
		return nil, err
	}
	return &Condition{expression: x}, nil
}

// Holds reports whether the condition is true of an event. An error says that the
// event is not such that it could be, as when it lacks what is compared.
func (c *Condition) Holds(e *Event) (bool, error) {
	if c.env == nil || c.source != e.Source {
		c.source, c.env = e.Source, newEnvironment(e.Source)
	}
	return c.expression.bool(c.env, e)
}

// Seen returns a record as expressions see it: with what a pipeline has made of
// it, where it has been through one, and else with the level that the beginning
// of its line says. The line is that of the batch.
func Seen(b *record.Batch, r *record.Record) Event {
	e := Event{
		Source: b.Source, Stream: r.Stream, Flags: r.Flags, Line: b.Line(r), Time: r.Time, Captured: r.Time, Count: 1,
	}
	if d := b.Derivation(r); d != nil {
		e.Level, _ = levelNamed(d.Level)
		e.Captured = d.Origin.Time
		for _, a := range d.Attributes {
			e.Fields = append(e.Fields, Field{a.Name, valueFrom(a)})
		}
		for _, a := range d.Labels {
			e.Labels = append(e.Labels, Label{a.Name, a.Value})
		}
	}
	if e.Level == NoLevel {
		e.Level = lineLevel(e.Line)
	}
	return e
}

// valueFrom returns the value of an attribute of a record.
func valueFrom(a record.Attribute) Value {
	v := Value{Text, a.Value}
	if !a.JSON || a.Value == "" {
		return v
	}
	switch a.Value[0] {
	case 't', 'f':
		v.Kind = Bool
	case 'n':
		v.Kind = Null
	case '[', '{', '"':
		v.Kind = Raw
	default:
		v.Kind = Number
	}
	return v
}

// LevelNamed returns the level of a name, as Level.String gives it.
func LevelNamed(name string) (Level, bool) { return levelNamed(name) }

// LevelNames returns the names of the levels, the least important first.
func LevelNames() []string { return levelNames[1:] }
