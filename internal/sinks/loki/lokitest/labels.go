package lokitest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// checkLabels checks that s is a stream's labels in the canonical form: at
// least one, sorted by name, each once, with a value that is UTF-8 and not
// empty.
func checkLabels(s string) error {
	rest, ok := strings.CutPrefix(s, "{")
	if !ok {
		return errors.New("no opening brace")
	}
	last := ""
	for {
		i := strings.IndexByte(rest, '=')
		if i < 0 {
			return errors.New("no label where one is due")
		}
		name := rest[:i]
		if !validName(name) {
			return fmt.Errorf("%q is no name of a label", name)
		}
		if name <= last {
			return fmt.Errorf("%q after %q is not in order", name, last)
		}
		last = name
		quoted, err := strconv.QuotedPrefix(rest[i+1:])
		if err != nil || quoted[0] != '"' {
			return fmt.Errorf("the value of %q is not quoted", name)
		}
		value, err := strconv.Unquote(quoted)
		switch {
		case err != nil:
			return fmt.Errorf("the value of %q: %w", name, err)
		case value == "":
			return fmt.Errorf("the value of %q is empty", name)
		case !utf8.ValidString(value):
			return fmt.Errorf("the value of %q is not UTF-8", name)
		case strconv.Quote(value) != quoted:
			return fmt.Errorf("the value of %q is not in the canonical form", name)
		}
		rest = rest[i+1+len(quoted):]
		if rest == "}" {
			return nil
		}
		if rest, ok = strings.CutPrefix(rest, ", "); !ok {
			return fmt.Errorf("%q follows the value of %q", rest, name)
		}
	}
}

// checkMetadata checks that names are valid and each stands once, and that
// values are UTF-8 and not empty.
func checkMetadata(pairs []Pair) error {
	for i, p := range pairs {
		if !validName(p.Name) {
			return fmt.Errorf("%q is no name of metadata", p.Name)
		}
		if p.Value == "" || !utf8.ValidString(p.Value) {
			return fmt.Errorf("the value of metadata %q is empty or not UTF-8", p.Name)
		}
		for _, q := range pairs[:i] {
			if q.Name == p.Name {
				return fmt.Errorf("metadata %q stands twice", p.Name)
			}
		}
	}
	return nil
}

func validName(s string) bool {
	for i, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}
