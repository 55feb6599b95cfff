package pipeline

import (
	"strings"
	"unicode/utf8"
)

func (o *CSV) compile(*compiler) (stage, error) {
	if len(o.Columns) == 0 {
		return nil, wrong("columns", "is empty; give the names of the columns")
	}
	if len(o.Columns) > MaxFields {
		return nil, wrong("columns", "are more than %d", MaxFields)
	}
	if utf8.RuneCountInString(o.Separator) != 1 || strings.ContainsAny(o.Separator, "\"\n\r") {
		return nil, wrong("separator", "want one character that is neither a quote nor a newline, not %q", shorten(o.Separator))
	}
	columns, separator := o.Columns, o.Separator
	return &parser{from: o.From, parse: func(text string, into *fieldList) error {
		return parseCSV(text, columns, separator, into)
	}}, nil
}

// parseCSV reads one line of RFC 4180. Its number of values must be that of the
// columns.
func parseCSV(text string, columns []string, separator string, into *fieldList) error {
	text = strings.TrimSuffix(text, "\r")
	for i, name := range columns {
		var v Value
		var more bool
		if strings.HasPrefix(text, `"`) {
			unquoted, rest, ok := cutDoubled(text)
			if !ok {
				return fail("not_csv", "a quote without its end in column %d", i+1)
			}
			v = TextValue(unquoted)
			if text, more = strings.CutPrefix(rest, separator); !more && rest != "" {
				return fail("not_csv", "text right after a quote in column %d", i+1)
			}
		} else {
			var bare string
			bare, text, more = strings.Cut(text, separator)
			v = guessed(bare)
		}
		if more != (i+1 < len(columns)) {
			return fail("not_csv", "want %d values", len(columns))
		}
		if name == "" {
			continue
		}
		if err := into.add(name, v); err != nil {
			return err
		}
	}
	return nil
}

// cutDoubled returns the text in quotes at the front of text, in which a quote
// is written twice, and what follows.
func cutDoubled(text string) (inner, rest string, ok bool) {
	doubled := false
	for i := 1; i < len(text); i++ {
		if text[i] != '"' {
			continue
		}
		if i+1 < len(text) && text[i+1] == '"' {
			doubled = true
			i++
			continue
		}
		inner = text[1:i]
		if doubled {
			inner = strings.ReplaceAll(inner, `""`, `"`)
		}
		return inner, text[i+1:], true
	}
	return "", "", false
}
