package promtail

import (
	"regexp"
	"strings"
)

// variable is a variable of the environment, as Promtail fills it in where it is
// told to (-config.expand-env). Names of digits alone are groups of expressions.
var variable = regexp.MustCompile(`\$?\$\{[A-Za-z_][A-Za-z0-9_]*(?::?[-=][^}]*)?\}`)

// dollar stands for the sign that begins a variable while a file is converted, so
// that it is told from all others. It is a letter of which no configuration has
// use.
const dollar = "\U00012031"

// keepVariables marks the variables of a file. In a file without any, nothing is
// taken for one, and two dollar signs are two.
func keepVariables(text string) string {
	found := false
	for _, v := range variable.FindAllString(text, -1) {
		found = found || !strings.HasPrefix(v, "$$")
	}
	if !found {
		return text
	}
	text = variable.ReplaceAllStringFunc(text, func(v string) string {
		if strings.HasPrefix(v, "$$") {
			return v
		}
		name, fallback, ok := strings.Cut(v[len("${"):len(v)-1], "-")
		if !ok {
			name, fallback, ok = strings.Cut(name, "=")
		}
		name = strings.TrimSuffix(name, ":")
		if !ok {
			return dollar + "{" + name + "}"
		}
		return dollar + "{" + name + ":-" + fallback + "}"
	})
	return strings.ReplaceAll(text, "$$", "$")
}

// escape returns a text in which a configuration puts no variables but those
// that are marked.
func escape(text string) string {
	text = dollars.ReplaceAllStringFunc(text, func(run string) string {
		signs := strings.TrimSuffix(run, "{")
		if signs == run && len(signs) == 1 {
			return run
		}
		return signs + run
	})
	return strings.ReplaceAll(text, dollar, "$")
}

// dollars are dollar signs, with the brace that would make the last one begin a
// variable.
var dollars = regexp.MustCompile(`\$+\{?`)

// template returns a text as a template without placeholders.
func template(text string) string {
	return escape(bracesOfVariables.ReplaceAllString(strings.NewReplacer("{", "{{", "}", "}}").Replace(text), dollar+"{$1}"))
}

// bracesOfVariables are those that template has doubled.
var bracesOfVariables = regexp.MustCompile(dollar + `\{\{([^}]*)\}\}`)
