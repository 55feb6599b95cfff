package pipeline

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

func (o *JSON) compile(*compiler) (stage, error) {
	depth := o.MaxDepth
	return &parser{from: o.From, prefix: o.Prefix, parse: func(text string, into *fieldList) error {
		s := jsonScanner{text: text, depth: depth}
		return s.document(into)
	}}, nil
}

// jsonScanner reads one JSON text (RFC 8259). Its depth bounds the recursion.
type jsonScanner struct {
	text  string
	at    int
	depth int
}

func (s *jsonScanner) document(into *fieldList) error {
	s.space()
	if s.peek() != '{' {
		return fail("not_json", "does not begin with {")
	}
	if err := s.object(into, ""); err != nil {
		return err
	}
	s.space()
	if s.at < len(s.text) {
		return s.wrong("more text after the object")
	}
	return nil
}

func (s *jsonScanner) wrong(what string) error { return fail("not_json", "%s, at byte %d", what, s.at) }

func (s *jsonScanner) peek() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

func (s *jsonScanner) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

func (s *jsonScanner) enter() error {
	s.at++
	if s.depth--; s.depth < 0 {
		return fail("too_deep", "objects and lists are too deep within each other, at byte %d", s.at)
	}
	s.space()
	return nil
}

// object reads an object. Its entries go into the list, their names preceded by
// prefix; without a list they are read over.
func (s *jsonScanner) object(into *fieldList, prefix string) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer func() { s.depth++ }()
	if s.peek() == '}' {
		s.at++
		if into != nil && prefix != "" {
			return into.add(prefix[:len(prefix)-1], Value{Raw, "{}"})
		}
		return nil
	}
	for {
		if s.peek() != '"' {
			return s.wrong("want a name in quotes")
		}
		name, err := s.string(into != nil)
		if err != nil {
			return err
		}
		s.space()
		if s.peek() != ':' {
			return s.wrong("want a colon after a name")
		}
		s.at++
		s.space()
		if into == nil {
			err = s.skip()
		} else {
			err = s.value(into, prefix+name)
		}
		if err != nil {
			return err
		}
		more, err := s.more('}')
		if err != nil || !more {
			return err
		}
	}
}

// more reads what stands after an entry, and reports whether another follows.
func (s *jsonScanner) more(end byte) (bool, error) {
	s.space()
	switch s.peek() {
	case ',':
		s.at++
		s.space()
		return true, nil
	case end:
		s.at++
		return false, nil
	}
	return false, s.wrong("want a comma or the end of an object or a list")
}

// value reads a value into the list.
func (s *jsonScanner) value(into *fieldList, name string) error {
	start := s.at
	switch c := s.peek(); c {
	case '{':
		if len(name) > MaxNameBytes {
			return into.add(name, Value{}) // which says so
		}
		return s.object(into, name+".")
	case '"':
		text, err := s.string(true)
		if err != nil {
			return err
		}
		return into.add(name, Value{Text, text})
	default:
		if err := s.skip(); err != nil {
			return err
		}
		text := s.text[start:s.at]
		switch c {
		case '[':
			return into.add(name, Value{Raw, validText(text)})
		case 't', 'f':
			return into.add(name, Value{Bool, text})
		case 'n':
			return into.add(name, Value{Null, text})
		}
		return into.add(name, Value{Number, text})
	}
}

// skip reads over a value.
func (s *jsonScanner) skip() error {
	switch s.peek() {
	case '{':
		return s.object(nil, "")
	case '[':
		return s.list()
	case '"':
		_, err := s.string(false)
		return err
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	}
	n := numberLength(s.text[s.at:])
	if n == 0 {
		return s.wrong("want a value")
	}
	s.at += n
	return nil
}

func (s *jsonScanner) list() error {
	if err := s.enter(); err != nil {
		return err
	}
	defer func() { s.depth++ }()
	if s.peek() == ']' {
		s.at++
		return nil
	}
	for {
		if err := s.skip(); err != nil {
			return err
		}
		more, err := s.more(']')
		if err != nil || !more {
			return err
		}
	}
}

func (s *jsonScanner) word(word string) error {
	if !strings.HasPrefix(s.text[s.at:], word) {
		return s.wrong("want a value")
	}
	s.at += len(word)
	return nil
}

// string reads a string. Without wanted it is checked, and not returned.
func (s *jsonScanner) string(wanted bool) (string, error) {
	s.at++
	start := s.at
	escaped := false
	for ; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case c == '"':
			raw := s.text[start:s.at]
			s.at++
			switch {
			case !wanted:
				return "", nil
			case escaped:
				return validText(unescape(raw)), nil
			}
			return validText(raw), nil
		case c < 0x20:
			return "", s.wrong("a control character in a text")
		case c == '\\':
			escaped = true
			s.at++
			n := escapeLength(s.text[s.at:])
			if n == 0 {
				return "", s.wrong("no escape of JSON")
			}
			s.at += n - 1
		}
	}
	return "", s.wrong("a text without its end")
}

// escapeLength returns the length of the escape at the front of text, without
// its backslash; 0 where there is none.
func escapeLength(text string) int {
	if text == "" {
		return 0
	}
	if strings.IndexByte(`"\/bfnrt`, text[0]) >= 0 {
		return 1
	}
	if text[0] != 'u' || len(text) < 5 || strings.Trim(text[1:5], "0123456789abcdefABCDEF") != "" {
		return 0
	}
	return 5
}

// unescape resolves the escapes of a string, which are valid.
func unescape(raw string) string {
	var b strings.Builder
	b.Grow(len(raw))
	for {
		before, rest, found := strings.Cut(raw, `\`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		raw = rest[1:]
		switch c := rest[0]; c {
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'u':
			r := hexRune(rest[1:5])
			raw = rest[5:]
			if utf16.IsSurrogate(r) {
				if strings.HasPrefix(raw, `\u`) {
					if pair := utf16.DecodeRune(r, hexRune(raw[2:6])); pair != utf8.RuneError {
						b.WriteRune(pair)
						raw = raw[6:]
						continue
					}
				}
				r = utf8.RuneError
			}
			b.WriteRune(r)
		default:
			b.WriteByte(c)
		}
	}
}

func hexRune(digits string) rune {
	n, _ := strconv.ParseUint(digits, 16, 32) // four digits were seen
	return rune(n)
}

// isNumber reports whether text is what JSON takes for a number.
func isNumber(text string) bool { return text != "" && numberLength(text) == len(text) }

// numberLength returns the length of the number at the front of text.
func numberLength(text string) int {
	i := 0
	digits := func() bool {
		start := i
		for i < len(text) && '0' <= text[i] && text[i] <= '9' {
			i++
		}
		return i > start
	}
	if i < len(text) && text[i] == '-' {
		i++
	}
	if i < len(text) && text[i] == '0' {
		i++
	} else if !digits() {
		return 0
	}
	if i < len(text) && text[i] == '.' {
		i++
		if !digits() {
			return 0
		}
	}
	if i < len(text) && (text[i] == 'e' || text[i] == 'E') {
		i++
		if i < len(text) && (text[i] == '+' || text[i] == '-') {
			i++
		}
		if !digits() {
			return 0
		}
	}
	return i
}
