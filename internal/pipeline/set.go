package pipeline

import (
	"errors"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func itoa(n int) string { return strconv.Itoa(n) }

// target is what a stage sets.
type target struct {
	kind targetKind
	name string
}

type targetKind uint8

const (
	fieldTarget targetKind = iota
	labelTarget
	lineTarget
	levelTarget
)

// labelName is what Prometheus and Loki take for the name of a label.
var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]{0,99}$`)

// parseTarget returns the target of a name.
func parseTarget(key, name string) (target, error) {
	if label, ok := strings.CutPrefix(name, "label."); ok {
		if !labelName.MatchString(label) {
			return target{}, wrong(key, "%q is no name of a label: want letters, digits and _", shorten(label))
		}
		return target{labelTarget, label}, nil
	}
	switch {
	case name == "line":
		return target{kind: lineTarget}, nil
	case name == "level":
		return target{kind: levelTarget}, nil
	case name == "" || len(name) > MaxNameBytes:
		return target{}, wrong(key, "want the name of an attribute, label.NAME, line or level")
	}
	return target{fieldTarget, name}, nil
}

type setStage struct {
	targets []target
	values  []*expression
}

func (o *Set) compile(*compiler) (stage, error) {
	if len(o.Values) == 0 {
		return nil, wrong("values", "is empty; give names and expressions")
	}
	s := &setStage{}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(o.Values)) {
		key := "values." + name
		t, err := parseTarget(key, name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		x, err := value(key, o.Values[name])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.targets, s.values = append(s.targets, t), append(s.values, x)
	}
	return s, errors.Join(errs...)
}

func (s *setStage) open(r *Run) instance {
	return &setting{setStage: s, env: r.env, results: make([]Value, len(s.values))}
}

type setting struct {
	*setStage
	env     *environment
	results []Value
	fields  []Field
}

func (s *setting) process(e *Event, next func(*Event)) error {
	labels := 0
	s.fields = s.fields[:0]
	for i, x := range s.values {
		var err error
		if s.results[i], err = x.value(s.env, e); err != nil {
			return err
		}
		v := s.results[i]
		switch s.targets[i].kind {
		case labelTarget:
			labels++
		case levelTarget:
			if _, ok := valueLevel(v); !ok && v.Kind != Null {
				return fail("not_a_level", "%q is no level", shorten(v.Text))
			}
		case fieldTarget:
			if v.Kind != Null {
				s.fields = append(s.fields, Field{s.targets[i].name, v})
			}
		}
	}
	if len(e.Labels)+labels > MaxLabels {
		return fail("too_many_labels", "more than %d labels", MaxLabels)
	}
	if err := e.setAll(s.fields); err != nil {
		return err
	}
	for i, v := range s.results {
		if v.Kind == Null {
			continue
		}
		switch t := s.targets[i]; t.kind {
		case labelTarget:
			if err := e.SetLabel(t.name, v.Text); err != nil {
				return err
			}
		case lineTarget:
			e.setLine([]byte(v.Text))
		case levelTarget:
			e.Level, _ = valueLevel(v)
		}
	}
	next(e)
	return nil
}

type removeStage struct{ Remove }

func (o *Remove) compile(*compiler) (stage, error) {
	if len(o.Fields) == 0 {
		return nil, wrong("fields", "is empty; give names of attributes")
	}
	for _, p := range o.Fields {
		if _, err := path.Match(p, ""); err != nil {
			return nil, wrong("fields", "%q is no pattern: want *, ? and pairs of [ and ]", shorten(p))
		}
	}
	return &removeStage{*o}, nil
}

func (s *removeStage) open(*Run) instance { return s }

func (s *removeStage) process(e *Event, next func(*Event)) error {
	e.Fields = slices.DeleteFunc(e.Fields, func(f Field) bool { return s.matches("", f.Name) != s.Others })
	e.Labels = slices.DeleteFunc(e.Labels, func(l Label) bool { return s.matches("label.", l.Name) })
	next(e)
	return nil
}

func (s *removeStage) matches(prefix, name string) bool {
	for _, p := range s.Fields {
		p, ok := strings.CutPrefix(p, prefix)
		if !ok {
			continue
		}
		// Names may have slashes, which the stars of paths stop at.
		if p == name || p == "*" {
			return true
		}
		if ok, _ := path.Match(p, name); ok {
			return true
		}
	}
	return false
}

type renameStage struct{ from, to []string }

func (o *Rename) compile(*compiler) (stage, error) {
	if len(o.Fields) == 0 {
		return nil, wrong("fields", "is empty; give names, and what they are to be")
	}
	s := &renameStage{}
	for _, from := range slices.Sorted(maps.Keys(o.Fields)) {
		to := o.Fields[from]
		if to == "" || len(to) > MaxNameBytes {
			return nil, wrong("fields."+from, "want the name of an attribute")
		}
		s.from, s.to = append(s.from, from), append(s.to, to)
	}
	return s, nil
}

func (s *renameStage) open(*Run) instance { return s }

func (s *renameStage) process(e *Event, next func(*Event)) error {
	for i, from := range s.from {
		to := s.to[i]
		if from == to {
			continue
		}
		place := slices.IndexFunc(e.Fields, func(f Field) bool { return f.Name == from })
		if place < 0 {
			continue
		}
		e.Fields[place].Name = to
		e.Fields = dropOther(e.Fields, place)
	}
	next(e)
	return nil
}

// dropOther takes away the field with the name of the one at place.
func dropOther(fields []Field, place int) []Field {
	for i := range fields {
		if i != place && fields[i].Name == fields[place].Name {
			return slices.Delete(fields, i, i+1)
		}
	}
	return fields
}

type templateStage struct {
	to    target
	parts []templatePart
}

// templatePart is a text, or an expression.
type templatePart struct {
	text string
	x    *expression
}

func (o *Template) compile(*compiler) (stage, error) {
	to, err := parseTarget("to", o.To)
	if err != nil {
		return nil, err
	}
	parts, err := parseTemplate("text", o.Text)
	if err != nil {
		return nil, err
	}
	return &templateStage{to, parts}, nil
}

// parseTemplate cuts a text at its braces.
func parseTemplate(key, text string) ([]templatePart, error) {
	var parts []templatePart
	var literal strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c != '{' && c != '}' {
			literal.WriteByte(c)
			continue
		}
		if i+1 < len(text) && text[i+1] == c {
			literal.WriteByte(c)
			i++
			continue
		}
		if c == '}' {
			return nil, wrong(key, "'}' at byte %d closes nothing (write '}}' for a brace)", i+1)
		}
		end := strings.IndexByte(text[i:], '}')
		if end < 0 {
			return nil, wrong(key, "'{' at byte %d is not closed (write '{{' for a brace)", i+1)
		}
		x, err := value(key, text[i+1:i+end])
		if err != nil {
			return nil, err
		}
		parts = append(parts, templatePart{text: literal.String()}, templatePart{x: x})
		literal.Reset()
		i += end
	}
	return append(parts, templatePart{text: literal.String()}), nil
}

func (s *templateStage) open(r *Run) instance { return &templating{templateStage: s, env: r.env} }

type templating struct {
	*templateStage
	env *environment
	out []byte
}

func (s *templating) process(e *Event, next func(*Event)) error {
	s.out = s.out[:0]
	for _, p := range s.parts {
		s.out = append(s.out, p.text...)
		if p.x != nil {
			var err error
			if s.out, err = p.x.appendText(s.out, s.env, e); err != nil {
				return err
			}
		}
	}
	var err error
	switch s.to.kind {
	case fieldTarget:
		err = e.Set(s.to.name, TextValue(string(s.out)))
	case labelTarget:
		err = e.SetLabel(s.to.name, string(s.out))
	case lineTarget:
		e.setLine(slices.Clone(s.out))
	case levelTarget:
		level, ok := wordLevel(s.out)
		if !ok {
			return fail("not_a_level", "%q is no level", shorten(string(s.out)))
		}
		e.Level = level
	}
	if err != nil {
		return err
	}
	next(e)
	return nil
}
