package pipeline

// parser is a stage that makes attributes of a text. Either all of them reach
// the event, or the stage has failed and none does.
type parser struct {
	// from is the attribute to parse; empty for the line.
	from   string
	prefix string
	// parse puts what it finds into the list.
	parse func(text string, into *fieldList) error
	// after does with the event what is more than attributes. It may be nil.
	after func(e *Event, found *fieldList)
}

func (p *parser) open(*Run) instance {
	return &parsing{parser: p, found: fieldList{prefix: p.prefix}}
}

type parsing struct {
	*parser
	found fieldList
}

func (p *parsing) process(e *Event, next func(*Event)) error {
	var text string
	if p.from == "" {
		text = string(e.Line)
	} else {
		v, ok := e.Get(p.from)
		if !ok {
			next(e) // nothing to parse
			return nil
		}
		text = v.Text
	}
	p.found.fields = p.found.fields[:0]
	p.found.message = ""
	if err := p.parse(text, &p.found); err != nil {
		return err
	}
	if err := e.setAll(p.found.fields); err != nil {
		return err
	}
	if p.after != nil {
		p.after(e, &p.found)
	}
	next(e)
	return nil
}

// setAll sets all fields, or none and fails.
func (e *Event) setAll(fields []Field) error {
	before := len(e.Fields)
	if before+len(fields) > MaxFields {
		fresh := 0
		for _, f := range fields {
			if _, ok := e.Get(f.Name); !ok {
				fresh++
			}
		}
		if before+fresh > MaxFields {
			return fail("too_many_fields", "more than %d attributes", MaxFields)
		}
	}
	for _, f := range fields {
		if err := e.Set(f.Name, f.Value); err != nil {
			e.Fields = e.Fields[:before]
			return err
		}
	}
	return nil
}

// fieldList is what a parser has found.
type fieldList struct {
	prefix string
	fields []Field
	// message is the part of the text that is for people, where a format has
	// one.
	message string
}

// add appends a field. It fails beyond the bounds of an event.
func (l *fieldList) add(name string, v Value) error {
	if l.prefix != "" {
		name = l.prefix + name
	}
	if len(name) > MaxNameBytes {
		return fail("name_too_long", "the name of an attribute has %d bytes, the most are %d", len(name), MaxNameBytes)
	}
	if len(l.fields) >= MaxFields {
		return fail("too_many_fields", "more than %d attributes", MaxFields)
	}
	l.fields = append(l.fields, Field{validText(name), v})
	return nil
}
