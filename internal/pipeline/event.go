package pipeline

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"log_capturer/internal/record"
)

// Event is a record as stages see it and change it.
type Event struct {
	// Source is where the record comes from. It is not changed.
	Source *record.Source
	// Stream is the stream that the line was written to.
	Stream record.Stream
	// Flags mark what is unusual about the record.
	Flags record.Flags
	// Line is the line without its newline, any bytes. A stage that changes it
	// puts other bytes in its place, and never writes into these.
	Line []byte
	// Time is in nanoseconds since the Unix epoch. It begins as Captured.
	Time int64
	// Captured is the time at which the engine stamped the line. It is not
	// changed: limits and windows go by it, so that lines that are read late
	// are treated as they would have been in time.
	Captured int64
	// Level is how important the record is, where a stage found out.
	Level Level
	// Fields are the attributes, each name once, in the order of their first
	// appearance. Use Get, Set and Remove.
	Fields []Field
	// Labels are what sinks index by, each name once. Use SetLabel.
	Labels []Label
	// Sinks are those that the record goes to.
	Sinks SinkSet
	// Count is the number of records that the event covers: 1, or more where
	// lines were joined or repeats collapsed.
	Count int
	// Before and After are the anchors of the stream before the first of these
	// records and after the last one. The caller sets them.
	Before, After record.Anchor

	// own says that Line is memory of this event, which nobody else reads.
	own bool
}

// The bounds of an event. What a stage would put in beyond them makes it fail.
const (
	// MaxFields is the largest number of attributes.
	MaxFields = 256
	// MaxNameBytes is the length of the longest name of an attribute or a label.
	MaxNameBytes = 256
	// MaxLabels is the largest number of labels.
	MaxLabels = 32
)

// Field is an attribute of an event. Name and text are valid UTF-8.
type Field struct {
	Name  string
	Value Value
}

// Label is a label of an event.
type Label struct{ Name, Value string }

// Kind is the kind of a Value.
type Kind uint8

// The kinds of values.
const (
	// Text is any text.
	Text Kind = iota
	// Number is a number as JSON writes it, exact to the digit.
	Number
	// Bool is true or false.
	Bool
	// Null is JSON's null.
	Null
	// Raw is a list or an object, as JSON.
	Raw
)

// String returns the kind as explain shows it.
func (k Kind) String() string {
	return [...]string{"text", "number", "true or false", "null", "JSON"}[k]
}

// Value is the value of an attribute. What Text holds is the value as text; of
// a Number the digits as they were written, of Raw the JSON.
type Value struct {
	Kind Kind
	Text string
}

// TextValue returns a text, with U+FFFD for what is not UTF-8.
func TextValue(text string) Value { return Value{Text, validText(text)} }

// guessed returns the value of a text that may be meant as a number: what JSON
// takes for a number is one. The text stays as it is in either case.
func guessed(text string) Value {
	if isNumber(text) {
		return Value{Number, text}
	}
	return TextValue(text)
}

func validText(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	return strings.ToValidUTF8(text, "\ufffd")
}

// any returns the value as expressions see it.
func (v Value) any() any {
	switch v.Kind {
	case Number:
		if n, err := strconv.Atoi(v.Text); err == nil {
			return n
		}
		f, _ := strconv.ParseFloat(v.Text, 64) // out of range is infinite
		return f
	case Bool:
		return v.Text == "true"
	case Null:
		return nil
	case Raw:
		var list any
		if json.Unmarshal([]byte(v.Text), &list) == nil {
			return list
		}
	}
	return v.Text
}

// AppendJSON appends the value as JSON.
func (v Value) AppendJSON(dst []byte) []byte {
	if v.Kind != Text {
		return append(dst, v.Text...)
	}
	quoted, _ := json.Marshal(v.Text) // a text never fails
	return append(dst, quoted...)
}

// valueOf returns the value of what an expression gave.
func valueOf(from any) (Value, error) {
	switch v := from.(type) {
	case nil:
		return Value{Null, "null"}, nil
	case string:
		return TextValue(strings.Clone(v)), nil
	case bool:
		return Value{Bool, strconv.FormatBool(v)}, nil
	case int:
		return Value{Number, strconv.Itoa(v)}, nil
	case time.Time:
		return Value{Text, v.UTC().Format(time.RFC3339Nano)}, nil
	case time.Duration:
		return Value{Text, v.String()}, nil
	}
	encoded, err := json.Marshal(from)
	if err != nil {
		return Value{}, fail("value", "%T is no value of an attribute", from)
	}
	if text := string(encoded); isNumber(text) {
		return Value{Number, text}, nil
	}
	return Value{Raw, string(encoded)}, nil
}

// Get returns the attribute of a name.
func (e *Event) Get(name string) (Value, bool) {
	for i := range e.Fields {
		if e.Fields[i].Name == name {
			return e.Fields[i].Value, true
		}
	}
	return Value{}, false
}

// Set gives the event an attribute, in place of one of the same name.
func (e *Event) Set(name string, v Value) error {
	for i := range e.Fields {
		if e.Fields[i].Name == name {
			e.Fields[i].Value = v
			return nil
		}
	}
	if len(name) > MaxNameBytes {
		return fail("name_too_long", "the name of an attribute has %d bytes, the most are %d", len(name), MaxNameBytes)
	}
	if len(e.Fields) >= MaxFields {
		return fail("too_many_fields", "more than %d attributes", MaxFields)
	}
	e.Fields = append(e.Fields, Field{validText(name), v})
	return nil
}

// Remove takes an attribute away, and reports whether there was one.
func (e *Event) Remove(name string) bool {
	i := slices.IndexFunc(e.Fields, func(f Field) bool { return f.Name == name })
	if i < 0 {
		return false
	}
	e.Fields = slices.Delete(e.Fields, i, i+1)
	return true
}

// SetLabel gives the event a label, in place of one of the same name. An empty
// value takes it away.
func (e *Event) SetLabel(name, value string) error {
	i := slices.IndexFunc(e.Labels, func(l Label) bool { return l.Name == name })
	switch {
	case i >= 0 && value == "":
		e.Labels = slices.Delete(e.Labels, i, i+1)
	case value == "":
	case i >= 0:
		e.Labels[i].Value = validText(value)
	case len(e.Labels) >= MaxLabels:
		return fail("too_many_labels", "more than %d labels", MaxLabels)
	default:
		e.Labels = append(e.Labels, Label{name, validText(value)})
	}
	return nil
}

// setLine makes line, which nobody else writes, the event's.
func (e *Event) setLine(line []byte) { e.Line, e.own = line, true }

// copyFrom makes e a copy of from that shares no memory with it that may change.
func (e *Event) copyFrom(from *Event) {
	line, fields, labels := e.Line, e.Fields, e.Labels
	if !e.own {
		line = nil
	}
	*e = *from
	e.setLine(append(line[:0], from.Line...))
	e.Fields = append(fields[:0], from.Fields...)
	e.Labels = append(labels[:0], from.Labels...)
}

// SinkSet is a set of sinks, by their place in the configuration. The empty set
// stands for all sinks, since a record that goes nowhere is dropped.
type SinkSet uint64

// MaxSinks is the largest number of sinks that routes can tell apart.
const MaxSinks = 64

// Has reports whether the sink of the given place is in the set.
func (s SinkSet) Has(place int) bool { return s == 0 || s&(1<<place) != 0 }

// Level is how important a record is.
type Level uint8

// The levels.
const (
	NoLevel Level = iota
	Trace
	Debug
	Info
	Warn
	Error
	Fatal
)

var levelNames = [...]string{"", "trace", "debug", "info", "warn", "error", "fatal"}

// String returns the level's name; empty where it is not known.
func (l Level) String() string { return levelNames[l] }
