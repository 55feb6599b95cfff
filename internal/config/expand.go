package config

import (
	"fmt"
	"strings"
)

// expand returns text with every ${NAME} and ${NAME:-default} replaced by the
// value of the environment, and every $$ by a $. A dollar sign before anything
// else stands for itself.
//
// The default is taken when the variable is unset or empty. It may hold braces
// in pairs, and no variable. Values are put in as they are, and not expanded
// again. expand returns what it can, with a message for each thing that is
// wrong.
func expand(text string, env func(string) (string, bool)) (string, []string) {
	if !strings.Contains(text, "$") {
		return text, nil
	}
	var b strings.Builder
	var wrong []string
	for {
		before, rest, found := strings.Cut(text, "$")
		b.WriteString(before)
		if !found {
			return b.String(), wrong
		}
		switch {
		case strings.HasPrefix(rest, "$"):
			b.WriteByte('$')
			text = rest[1:]
		case strings.HasPrefix(rest, "{"):
			end := closingBrace(rest)
			if end < 0 {
				wrong = append(wrong, "${ without its closing brace; write $${ for a literal ${")
				return b.String(), wrong
			}
			value, message := variable(rest[1:end], env)
			if message != "" {
				wrong = append(wrong, message)
			}
			b.WriteString(value)
			text = rest[end+1:]
		default:
			b.WriteByte('$')
			text = rest
		}
	}
}

// closingBrace returns the index of the brace that closes the one that text
// begins with, or -1.
func closingBrace(text string) int {
	depth := 0
	for i := range len(text) {
		switch text[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// variable returns the value of what stands between the braces of ${...}, or
// a message that says why it has none.
func variable(reference string, env func(string) (string, bool)) (value, message string) {
	name, fallback, hasFallback := strings.Cut(reference, ":-")
	if !isVariableName(name) {
		// What stands there may be a part of a secret.
		return "", "${...} does not name a variable; write ${NAME} or ${NAME:-default}, or $${ for a literal ${"
	}
	if strings.Contains(strings.ReplaceAll(fallback, "$$", ""), "${") {
		return "", fmt.Sprintf("the default of ${%s} cannot hold another variable", name)
	}
	value, ok := env(name)
	switch {
	case hasFallback && value == "":
		return strings.ReplaceAll(fallback, "$$", "$"), ""
	case !ok:
		return "", fmt.Sprintf("the environment variable %s is not set; set it, or write ${%s:-default}", name, name)
	}
	return value, ""
}

// isVariableName reports whether name is letters, digits and underscores, and
// does not begin with a digit.
func isVariableName(name string) bool {
	for i := range len(name) {
		c := name[i]
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}
