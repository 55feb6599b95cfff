package pipeline

import (
	"strings"
	"unicode/utf8"
)

func (o *Logfmt) compile(*compiler) (stage, error) {
	return &parser{from: o.From, prefix: o.Prefix, parse: parseLogfmt}, nil
}

// parseLogfmt reads pairs as github.com/kr/logfmt describes them: keys are
// printable without space, '=' and '"'; a value is bare or in quotes with Go's
// escapes; a key alone is true. A text without any key=value is not logfmt.
func parseLogfmt(text string, into *fieldList) error {
	pairs := 0
	for i := 0; i < len(text); {
		if text[i] <= ' ' {
			i++
			continue
		}
		start := i
		for i < len(text) && text[i] > ' ' && text[i] != '=' && text[i] != '"' {
			i++
		}
		key := text[start:i]
		if key == "" {
			return fail("not_logfmt", "want a key at byte %d", start)
		}
		if i == len(text) || text[i] <= ' ' {
			if err := into.add(key, Value{Bool, "true"}); err != nil {
				return err
			}
			continue
		}
		if text[i] == '"' {
			return fail("not_logfmt", "a quote within a key at byte %d", i)
		}
		i++ // '='
		pairs++
		var v Value
		if i < len(text) && text[i] == '"' {
			unquoted, n := cutQuoted(text[i:])
			if n == 0 {
				return fail("not_logfmt", "a quote without its end at byte %d", i)
			}
			v = TextValue(unquoted)
			i += n
			if i < len(text) && text[i] > ' ' {
				return fail("not_logfmt", "text right after a quote at byte %d", i)
			}
		} else {
			start := i
			for i < len(text) && text[i] > ' ' && text[i] != '"' {
				i++
			}
			if i < len(text) && text[i] == '"' {
				return fail("not_logfmt", "a quote within a value at byte %d", i)
			}
			v = guessed(text[start:i])
		}
		if err := into.add(key, v); err != nil {
			return err
		}
	}
	if pairs == 0 {
		return fail("not_logfmt", "no key=value in it")
	}
	return nil
}

// cutQuoted returns the text in quotes at the front of text, with its escapes
// resolved, and how many bytes it took; 0 where the quote has no end. What is
// no escape stands for itself.
func cutQuoted(text string) (string, int) {
	quote := text[0]
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case quote:
			inner := text[1:i]
			if strings.IndexByte(inner, '\\') >= 0 {
				inner = unescapeLoose(inner)
			}
			return inner, i + 1
		}
	}
	return "", 0
}

// unescapeLoose resolves the escapes of JSON, and leaves others as they are.
func unescapeLoose(text string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, `\`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		n := escapeLength(rest)
		// The second half of a surrogate pair belongs to the first.
		if n == 5 && strings.HasPrefix(rest[5:], `\u`) && escapeLength(rest[6:]) == 5 {
			if both := unescape(`\` + rest[:11]); utf8.RuneCountInString(both) == 1 {
				n = 11
			}
		}
		if n == 0 {
			b.WriteByte('\\')
			text = rest
			continue
		}
		b.WriteString(unescape(`\` + rest[:n]))
		text = rest[n:]
	}
}

func (o *KeyValue) compile(*compiler) (stage, error) {
	switch {
	case o.Pairs == "":
		return nil, wrong("pairs", "is empty; give what stands between two pairs")
	case o.Between == "":
		return nil, wrong("between", "is empty; give what stands between a key and its value")
	case o.Pairs == o.Between:
		return nil, wrong("between", "is the same as pairs")
	}
	pairs, between := o.Pairs, o.Between
	return &parser{from: o.From, prefix: o.Prefix, parse: func(text string, into *fieldList) error {
		return parseKeyValue(text, pairs, between, into)
	}}, nil
}

// parseKeyValue reads pairs. A value in double quotes may hold the separator.
// What has no separator between key and value is left out.
func parseKeyValue(text, pairs, between string, into *fieldList) error {
	found := false
	for text != "" {
		key, rest, ok := strings.Cut(text, between)
		if !ok {
			break
		}
		if i := strings.LastIndex(key, pairs); i >= 0 {
			key = key[i+len(pairs):]
		}
		v, after := keyedValue(rest, pairs)
		text = after
		if key = strings.TrimSpace(key); key == "" {
			continue
		}
		found = true
		if err := into.add(key, v); err != nil {
			return err
		}
	}
	if !found {
		return fail("no_pairs", "no key%svalue in it", between)
	}
	return nil
}

// keyedValue returns the value at the front of text, and what follows the
// separator after it.
func keyedValue(text, pairs string) (Value, string) {
	if strings.HasPrefix(text, `"`) {
		if unquoted, n := cutQuoted(text); n > 0 {
			_, after, _ := strings.Cut(text[n:], pairs)
			return TextValue(unquoted), after
		}
	}
	bare, after, _ := strings.Cut(text, pairs)
	return guessed(strings.TrimSpace(bare)), after
}
