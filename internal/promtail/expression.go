package promtail

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
)

// quote returns a text as a constant of the expression language.
func quote(text string) string {
	if !strings.ContainsAny(text, "`\r") && strings.ContainsAny(text, `\"`) {
		return "`" + text + "`"
	}
	return strconv.Quote(text)
}

// plainName is what an attribute may be called without quotes.
var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// field returns the expression of an attribute.
func field(of string) string {
	if plainName.MatchString(of) {
		return "fields." + of
	}
	return "fields[" + quote(of) + "]"
}

// label returns the expression of a label.
func label(of string) string {
	if plainName.MatchString(of) {
		return "labels." + of
	}
	return "labels[" + quote(of) + "]"
}

// attribute returns what an attribute of Promtail is called here, where a stage
// that sets line or level means the record's own.
func attribute(of string) string {
	if of == "line" || of == "level" {
		return "extracted_" + of
	}
	return of
}

// source returns the expression of what a stage of Promtail looks at: the line
// where it names nothing.
func source(of string) string {
	if of == "" {
		return "line"
	}
	return "string(" + field(attribute(of)) + ` ?? "")`
}

// matches returns the condition that an expression matches a pattern anywhere.
func matches(expression, pattern string) string {
	return expression + " matches " + quote(pattern)
}

// matchesWhole is matches for rules that are about the whole text.
func matchesWhole(expression, pattern string) string {
	return matches(expression, "^(?:"+pattern+")$")
}

// and joins conditions, of which empty ones are always true.
func and(conditions ...string) string {
	var list []string
	for _, c := range conditions {
		if c != "" {
			list = append(list, c)
		}
	}
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return "(" + strings.Join(list, ") and (") + ")"
}

// checkPattern returns what is wrong with a regular expression.
func checkPattern(pattern string) error {
	_, err := regexp.Compile(pattern)
	return err
}

// nameGroups gives the groups of a pattern names that begin with prefix, in the
// order of their numbers, and returns how many there are.
func nameGroups(pattern, prefix string) (string, int, error) {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return "", 0, fmt.Errorf("read %q: %w", pattern, err)
	}
	groups := tree.MaxCap()
	var walk func(*syntax.Regexp)
	walk = func(r *syntax.Regexp) {
		if r.Op == syntax.OpCapture {
			r.Name = prefix + strconv.Itoa(r.Cap)
		}
		for _, sub := range r.Sub {
			walk(sub)
		}
	}
	walk(tree)
	return tree.String(), groups, nil
}

// matcher is one matcher, or one line filter, of a selector of LogQL.
var (
	matcherPattern = regexp.MustCompile("^\\s*([A-Za-z_][A-Za-z0-9_]*)\\s*(=~|!~|!=|=)\\s*(\"(?:[^\"\\\\]|\\\\.)*\"|`[^`]*`)\\s*(,|$)")
	filterPattern  = regexp.MustCompile("^\\s*(\\|=|!=|\\|~|!~)\\s*(\"(?:[^\"\\\\]|\\\\.)*\"|`[^`]*`)")
)

// selector returns the condition of a selector of LogQL, and false where it is
// more than matchers and line filters.
func selector(text string) (condition string, ok bool) {
	text = strings.TrimSpace(text)
	body, rest, found := strings.Cut(text, "}")
	body, opened := strings.CutPrefix(body, "{")
	if !found || !opened {
		return "", false
	}
	var conditions []string
	for strings.TrimSpace(body) != "" {
		m := matcherPattern.FindStringSubmatch(body)
		if m == nil {
			return "", false
		}
		value, err := strconv.Unquote(m[3])
		if err != nil {
			return "", false
		}
		conditions = append(conditions, compare("("+label(m[1])+` ?? "")`, m[2], value))
		body = body[len(m[0]):]
	}
	for strings.TrimSpace(rest) != "" {
		m := filterPattern.FindStringSubmatch(rest)
		if m == nil {
			return "", false
		}
		value, err := strconv.Unquote(m[2])
		if err != nil {
			return "", false
		}
		conditions = append(conditions, filter(m[1], value))
		rest = rest[len(m[0]):]
	}
	return and(conditions...), true
}

func compare(expression, operator, value string) string {
	switch operator {
	case "=~":
		return matchesWhole(expression, value)
	case "!~":
		return "not (" + matchesWhole(expression, value) + ")"
	}
	if operator == "=" {
		operator = "=="
	}
	return expression + " " + operator + " " + quote(value)
}

func filter(operator, value string) string {
	switch operator {
	case "|=":
		return "line contains " + quote(value)
	case "!=":
		return "not (line contains " + quote(value) + ")"
	case "!~":
		return "not (" + matches("line", value) + ")"
	}
	return matches("line", value)
}
