package promtail

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
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

// reserved are names that mean the record's own in a stage that sets.
var reserved = []string{"level", "line"}

// attribute returns what an attribute of Promtail is called here.
func attribute(of string) string {
	if slices.Contains(reserved, of) || strings.HasPrefix(of, "label.") {
		return "extracted_" + of
	}
	return of
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
