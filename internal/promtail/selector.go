package promtail

import (
	"regexp"
	"strconv"
	"strings"
)

// matcherPattern is one matcher, and filterPattern one line filter, of a selector
// of LogQL.
var (
	matcherPattern = regexp.MustCompile("^\\s*([A-Za-z_][A-Za-z0-9_]*)\\s*(=~|!~|!=|=)\\s*(\"(?:[^\"\\\\]|\\\\.)*\"|`[^`]*`)\\s*(,\\s*|)")
	filterPattern  = regexp.MustCompile("^\\s*(\\|=|!=|\\|~|!~)\\s*(\"(?:[^\"\\\\]|\\\\.)*\"|`[^`]*`)")
)

// selector returns the condition of a selector of LogQL, and false where it is
// more than matchers and line filters.
func selector(text string) (condition string, ok bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), "{")
	if !ok {
		return "", false
	}
	var conditions []string
	for rest = strings.TrimSpace(rest); !strings.HasPrefix(rest, "}"); rest = strings.TrimSpace(rest) {
		m := matcherPattern.FindStringSubmatch(rest)
		if m == nil {
			return "", false
		}
		value, err := strconv.Unquote(m[3])
		if err != nil {
			return "", false
		}
		if strings.HasSuffix(m[2], "~") && checkPattern(value) != nil {
			return "", false
		}
		conditions = append(conditions, compare("("+label(m[1])+` ?? "")`, m[2], value))
		if rest = rest[len(m[0]):]; m[4] == "" && !strings.HasPrefix(rest, "}") {
			return "", false
		}
	}
	rest = rest[1:]
	for strings.TrimSpace(rest) != "" {
		m := filterPattern.FindStringSubmatch(rest)
		if m == nil {
			return "", false
		}
		value, err := strconv.Unquote(m[2])
		if err != nil {
			return "", false
		}
		if strings.HasSuffix(m[1], "~") && checkPattern(value) != nil {
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
