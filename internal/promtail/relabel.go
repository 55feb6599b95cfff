package promtail

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
)

// metaLabels are what Promtail's docker_sd knows of a container, as expressions
// of a pipeline.
var metaLabels = map[string]string{
	"__meta_docker_container_id":                               "container_id",
	"__meta_docker_container_name":                             `"/" + container`,
	"__meta_docker_container_log_stream":                       "stream",
	"__meta_docker_container_label_com_docker_compose_project": "compose_project",
	"__meta_docker_container_label_com_docker_compose_service": "compose_service",
}

const containerLabelPrefix = "__meta_docker_container_label_"

// temporary is what begins the names of attributes that a converted stage needs
// for itself.
const temporary = "promtail_"

// operand returns the expression of a source label. warn says that it is a
// guess.
func (p *pipeline) operand(name string) (expression string, guessed, ok bool) {
	if expression = metaLabels[name]; expression != "" {
		return expression, false, true
	}
	if key, is := strings.CutPrefix(name, containerLabelPrefix); is {
		if strings.HasPrefix(key, "com_docker_compose_") {
			key = "com.docker.compose." + strings.TrimPrefix(key, "com_docker_compose_")
			return "(container_labels[" + quote(key) + `] ?? "")`, false, true
		}
		// Promtail writes every other character as an underscore.
		return "(container_labels[" + quote(key) + `] ?? "")`, strings.Contains(key, "_"), true
	}
	if strings.HasPrefix(name, "__") {
		return "", false, false
	}
	return "string(" + label(name) + ` ?? "")`, false, true
}

// afterSlash are the patterns by which the slash before a container's name is
// usually taken off.
var afterSlash = []string{`/(.*)`, `/?(.*)`, `^/(.*)`, `^/(.*)$`, `/(.*)$`, `\/(.*)`, `/(.+)`, `^/?(.*)$`}

// relabel converts a rule to stages.
func (p *pipeline) relabel(rule node) {
	action := rule.get("action").text()
	if action == "" {
		action = "replace"
	}
	pattern := rule.get("regex").text()
	if pattern == "" {
		pattern = "(.*)"
	}
	if err := checkPattern(pattern); err != nil {
		p.note(rule, "is not carried over: %v", err)
		return
	}
	switch action = strings.ToLower(action); action {
	case "replace", "keep", "drop", "lowercase", "uppercase", "keepequal", "dropequal":
	case "labeldrop":
		p.dropLabels(rule, pattern)
		return
	default:
		p.note(rule, "is not carried over: there is nothing that corresponds to the action %s; set the labels one by one", action)
		return
	}
	names := rule.get("source_labels").list()
	if len(names) == 0 && action != "replace" {
		p.note(rule, "is not carried over: it has no source_labels")
		return
	}
	var operands []string
	for _, name := range names {
		operand, guessed, ok := p.operand(name.text())
		if !ok {
			p.note(rule, "is not carried over: %s is not known of a source", name.text())
			return
		}
		if guessed {
			p.note(rule, "%s may stand for a label with other characters in the place of _: look it up", name.text())
		}
		operands = append(operands, operand)
	}
	separator := ";"
	if s := rule.get("separator"); s.exists() {
		separator = s.text()
	}
	value := strings.Join(operands, " + "+quote(separator)+" + ")
	switch action {
	case "keep":
		p.stage("filter", item("keep", escape(matchesWhole("("+value+")", pattern))), item("reason", "relabel"))
	case "drop":
		p.stage("filter", item("drop", escape(matchesWhole("("+value+")", pattern))), item("reason", "relabel"))
	case "keepequal", "dropequal":
		other, _, ok := p.operand(rule.get("target_label").text())
		if !ok {
			p.note(rule, "is not carried over: %s is not known of a source", rule.get("target_label").text())
			return
		}
		p.stage("filter", item(strings.TrimSuffix(action, "equal"), escape("("+value+") == "+other)), item("reason", "relabel"))
	case "lowercase":
		p.setLabel(rule, "lower("+value+")")
	case "uppercase":
		p.setLabel(rule, "upper("+value+")")
	default:
		p.replace(rule, names, value, pattern)
	}
}

// replace converts the action of that name.
func (p *pipeline) replace(rule node, names []node, value, pattern string) {
	replacement := "$1"
	if r := rule.get("replacement"); r.exists() {
		replacement = r.text()
	}
	isName := len(names) == 1 && names[0].text() == "__meta_docker_container_name"
	whole := replacement == "$1" || replacement == "${1}"
	switch {
	case value == "":
		// Without sources there is nothing to match, and a constant is set.
		p.setLabel(rule, quote(replacement))
	case isName && whole && slices.Contains(afterSlash, pattern):
		p.setLabel(rule, "container")
	case whole && slices.Contains([]string{"(.*)", "(.+)", "^(.*)$", "^(.+)$"}, pattern):
		p.setLabel(rule, value)
	case !strings.Contains(replacement, "$"):
		p.setLabel(rule, matchesWhole("("+value+")", pattern)+" ? "+quote(replacement)+" : nil")
	default:
		p.rewrite(rule, value, pattern, replacement)
	}
}

// reference is a group of a pattern in a replacement.
var reference = regexp.MustCompile(`\$(?:\{(\d+)\}|(\d+))`)

// rewrite sets a label to a replacement with the groups of a pattern in it.
func (p *pipeline) rewrite(rule node, value, pattern, replacement string) {
	prefix := temporary + "group_"
	grouped, groups, err := nameGroups("^(?:"+pattern+")$", prefix)
	if err != nil {
		p.note(rule, "is not carried over: %v", err)
		return
	}
	var parts []string
	rest := replacement
	for rest != "" {
		at := reference.FindStringSubmatchIndex(rest)
		if at == nil {
			if strings.Contains(rest, "$") {
				p.note(rule, "is not carried over: of the replacement %q only numbered groups are understood", replacement)
				return
			}
			parts = append(parts, quote(rest))
			break
		}
		if at[0] > 0 {
			parts = append(parts, quote(rest[:at[0]]))
		}
		m := reference.FindStringSubmatch(rest)
		n, err := strconv.Atoi(m[1] + m[2])
		switch {
		case err != nil || n > groups:
			// A group that there is not is empty.
		case n == 0:
			parts = append(parts, source(temporary+"value"))
		default:
			parts = append(parts, source(prefix+strconv.Itoa(n)))
		}
		rest = rest[at[1]:]
	}
	if len(parts) == 0 {
		parts = []string{`""`}
	}
	p.stage("set", item("values", yaml.MapSlice{item(temporary+"value", escape(value))}))
	condition := matchesWhole(source(temporary+"value"), pattern)
	if groups > 0 {
		p.stageIf(condition, "regex", item("from", temporary+"value"), item("pattern", escape(grouped)))
	}
	target := rule.get("target_label").text()
	p.stageIf(condition, "set", item("values", yaml.MapSlice{item("label."+target, escape(strings.Join(parts, " + ")))}))
	p.stage("remove", item("fields", []any{temporary + "*"}))
}

// setLabel sets the label that a rule is for.
func (p *pipeline) setLabel(rule node, expression string) {
	target := rule.get("target_label").text()
	switch {
	case target == "":
		p.note(rule, "is not carried over: it has no target_label")
	case strings.HasPrefix(target, "__"):
		p.note(rule, "is not carried over: %s changes how Promtail reads, which is set elsewhere here", target)
	default:
		p.stage("set", item("values", yaml.MapSlice{item("label."+target, escape(expression))}))
	}
}

// literals is a pattern that is a list of names.
var literals = regexp.MustCompile(`^[A-Za-z0-9_]+(?:\|[A-Za-z0-9_]+)*$`)

func (p *pipeline) dropLabels(rule node, pattern string) {
	if !literals.MatchString(pattern) {
		p.note(rule, "is not carried over: name the labels in a stage of type remove")
		return
	}
	var fields []any
	for _, name := range strings.Split(pattern, "|") {
		fields = append(fields, "label."+name)
	}
	p.stage("remove", item("fields", fields))
}
