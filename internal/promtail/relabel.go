package promtail

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
)

// metaLabels are what Promtail's discoveries know of a source, as expressions of a
// pipeline.
var metaLabels = map[kind]map[string]string{
	containers: {
		"__meta_docker_container_id":                               "container_id",
		"__meta_docker_container_name":                             `"/" + container`,
		"__meta_docker_container_log_stream":                       "stream",
		"__meta_docker_container_label_com_docker_compose_project": "compose_project",
		"__meta_docker_container_label_com_docker_compose_service": "compose_service",
	},
	pods: {
		"__meta_kubernetes_namespace":          "namespace",
		"__meta_kubernetes_pod_name":           "pod",
		"__meta_kubernetes_pod_container_name": "container",
		"__meta_kubernetes_pod_node_name":      "host",
	},
}

const containerLabelPrefix = "__meta_docker_container_label_"

// temporary is what begins the names of attributes that a converted stage needs
// for itself.
const temporary = "promtail_"

// operand returns the expression of a source label. guessed says that it may be
// of another label.
func (p *pipeline) operand(name string) (expression string, guessed, ok bool) {
	if expression, ok = p.defined[name]; ok {
		return "(" + expression + ")", false, true
	}
	if expression = metaLabels[p.kind][name]; expression != "" {
		return expression, false, true
	}
	if key, is := strings.CutPrefix(name, containerLabelPrefix); is && p.kind == containers {
		expression, guessed = containerLabel(key)
		return expression, guessed, true
	}
	if strings.HasPrefix(name, "__") {
		// A file has none of these, which is how Promtail sees it too.
		return `""`, false, p.kind == files && strings.HasPrefix(name, "__meta_")
	}
	return "string(" + label(name) + ` ?? "")`, false, true
}

// knownPrefixes are those of labels of containers with points in them.
var knownPrefixes = []string{"com.docker.compose.", "com.docker.swarm.", "com.docker.stack.", "org.opencontainers.image."}

// maxPlaces is the largest number of underscores of which each may stand for
// another character.
const maxPlaces = 2

// containerLabel returns the expression of a label of a container by the name
// that Promtail gives it, which has an underscore for every character that no
// label of Loki may have. guessed says that another label may be meant.
func containerLabel(key string) (expression string, guessed bool) {
	for _, prefix := range knownPrefixes {
		written := strings.ReplaceAll(prefix, ".", "_")
		if rest, ok := strings.CutPrefix(key, written); ok && !strings.Contains(rest, "_") {
			return "(get(container_labels, " + quote(prefix+rest) + `) ?? "")`, false
		}
	}
	stands := []string{".", "_", "-"}
	count := strings.Count(key, "_")
	var candidates []string
	switch {
	case count == 0:
		candidates = []string{key}
	case count > maxPlaces:
		for _, stand := range stands {
			candidates = append(candidates, strings.ReplaceAll(key, "_", stand))
		}
	default:
		parts := strings.Split(key, "_")
		candidates = parts[:1]
		for _, part := range parts[1:] {
			var next []string
			for _, prefix := range candidates {
				for _, stand := range stands {
					next = append(next, prefix+stand+part)
				}
			}
			candidates = next
		}
	}
	var parts []string
	for _, c := range candidates {
		parts = append(parts, "get(container_labels, "+quote(c)+")")
	}
	return "(" + strings.Join(append(parts, `""`), " ?? ") + ")", count > maxPlaces
}

// afterSlash are the patterns by which the slash before a container's name is
// usually taken off.
var afterSlash = []string{`/(.*)`, `/?(.*)`, `^/(.*)`, `^/(.*)$`, `/(.*)$`, `\/(.*)`, `/(.+)`, `^/?(.*)$`, `^/(.+)$`, `/?(.+)`, `^/(.+)`, `/(.+)$`}

// everything are the patterns that take a whole text, and optional says whether
// an empty one as well.
var everything = map[string]bool{"(.*)": true, ".*": true, "^(.*)$": true, "(.+)": false, "^(.+)$": false, ".+": false}

// rule is a rule that was read.
type rule struct {
	node
	action, pattern, value string
	names                  []node
}

// read returns a rule, and false for one that cannot be carried over, of which
// something was said.
func (p *pipeline) readRule(n node) (r rule, ok bool) {
	r = rule{node: n, action: strings.ToLower(n.get("action").text()), pattern: n.get("regex").text(), names: n.get("source_labels").list()}
	if r.action == "" {
		r.action = "replace"
	}
	if r.pattern == "" {
		r.pattern = "(.*)"
	}
	if err := checkPattern(r.pattern); err != nil {
		p.note(n, "is not carried over: %v", err)
		return r, false
	}
	switch r.action {
	case "replace", "keep", "drop", "lowercase", "uppercase", "keepequal", "dropequal":
	case "labeldrop", "labelkeep":
		return r, true
	default:
		p.note(n, "is not carried over: there is nothing that corresponds to the action %s; set the labels one by one", r.action)
		return r, false
	}
	// A constant asks nothing of its sources.
	if r.action == "replace" && everything[r.pattern] {
		if replacement := n.get("replacement"); replacement.exists() && !strings.Contains(replacement.text(), "$") {
			r.names = nil
		}
	}
	if len(r.names) == 0 && r.action != "replace" {
		p.note(n, "is not carried over: it has no source_labels")
		return r, false
	}
	if p.kind != files && r.action == "replace" && slices.Contains(ofReading, n.get("target_label").text()) {
		return r, false // Where logs are is known here without that.
	}
	var operands []string
	for _, name := range r.names {
		operand, guessed, known := p.operand(name.text())
		if !known {
			p.note(n, "is not carried over: %s is not known of a source", name.text())
			return r, false
		}
		if guessed {
			p.note(n, "%s is taken for a label with one and the same character in the place of each _: look it up", name.text())
		}
		operands = append(operands, operand)
	}
	separator := ";"
	if s := n.get("separator"); s.exists() {
		separator = s.text()
	}
	join := " + "
	if separator != "" {
		join = " + " + quote(separator) + " + "
	}
	r.value = strings.Join(operands, join)
	return r, true
}

// ofReading are labels that tell Promtail where a source's lines are.
var ofReading = []string{"__path__", "__address__", "__host__"}

// relabelAll converts the rules of a job.
func (p *pipeline) relabelAll(rules node) {
	for _, r := range rules.list() {
		if p.chosen && p.keeps(r) != "" {
			continue
		}
		p.relabel(r)
	}
}

// ofRecords matches expressions of what stages have made of a record.
var ofRecords = regexp.MustCompile(`\b(?:labels|fields)[.\[]`)

// keeps returns the condition on which a rule keeps a source, empty for rules
// that do not, and for those of which that depends on other than the source.
func (p *pipeline) keeps(n node) string {
	quiet := *p
	quiet.converter = &converter{}
	r, ok := quiet.readRule(n)
	if !ok {
		return ""
	}
	condition, keep, ok := quiet.keepCondition(r)
	if !ok || ofRecords.MatchString(condition) {
		return ""
	}
	if !keep {
		return "not (" + condition + ")"
	}
	return condition
}

// keepCondition returns the condition of a rule that keeps or drops.
func (p *pipeline) keepCondition(r rule) (condition string, keep, ok bool) {
	switch r.action {
	case "keep", "drop":
		return matchesWhole("("+r.value+")", r.pattern), r.action == "keep", true
	case "keepequal", "dropequal":
		other, _, known := p.operand(r.get("target_label").text())
		if !known {
			p.note(r.node, "is not carried over: %s is not known of a source", r.get("target_label").text())
			return "", false, false
		}
		return "(" + r.value + ") == " + other, r.action == "keepequal", true
	}
	return "", false, false
}

// relabel converts a rule to stages.
func (p *pipeline) relabel(n node) {
	r, ok := p.readRule(n)
	if !ok {
		return
	}
	switch r.action {
	case "labeldrop", "labelkeep":
		p.keepLabels(r)
	case "lowercase":
		p.setLabel(n, "", "lower("+r.value+")")
	case "uppercase":
		p.setLabel(n, "", "upper("+r.value+")")
	case "replace":
		p.replace(r)
	default:
		if condition, keep, ok := p.keepCondition(r); ok {
			key := "drop"
			if keep {
				key = "keep"
			}
			p.stage("filter", item(key, escape(condition)), item("reason", "relabel"))
		}
	}
}

// replace converts the action of that name.
func (p *pipeline) replace(r rule) {
	replacement := "$1"
	if n := r.get("replacement"); n.exists() {
		replacement = n.text()
	}
	isName := len(r.names) == 1 && r.names[0].text() == "__meta_docker_container_name"
	whole := replacement == "$1" || replacement == "${1}"
	empty, all := everything[r.pattern]
	switch {
	case r.value == "":
		// Without sources there is nothing to match, and a constant is set.
		if strings.Contains(replacement, "$") {
			replacement = reference.ReplaceAllString(replacement, "")
		}
		p.setLabel(r.node, "", quote(replacement))
	case isName && whole && slices.Contains(afterSlash, r.pattern):
		p.setLabel(r.node, "", "container")
	case whole && all && strings.Contains(r.pattern, "("):
		condition := ""
		if !empty {
			condition = "(" + r.value + `) != ""`
		}
		p.setLabel(r.node, condition, r.value)
	case !strings.Contains(replacement, "$"):
		p.setLabel(r.node, matchesWhole("("+r.value+")", r.pattern), quote(replacement))
	default:
		p.rewrite(r.node, r.value, r.pattern, replacement)
	}
}

// reference is a group of a pattern in a replacement.
var reference = regexp.MustCompile(`\$(?:\{(\d+)\}|(\d+))`)

// rewrite sets a label to a replacement with the groups of a pattern in it.
func (p *pipeline) rewrite(n node, value, pattern, replacement string) {
	target, ok := p.target(n)
	if !ok {
		return
	}
	if strings.HasPrefix(target, "__") {
		p.note(n, "is not carried over: %s is for other rules alone, and made of parts of a text; set the label that these set by a stage", target)
		return
	}
	prefix := temporary + "group_"
	grouped, groups, err := nameGroups("^(?:"+pattern+")$", prefix)
	if err != nil {
		p.note(n, "is not carried over: %v", err)
		return
	}
	var parts []string
	rest := replacement
	for rest != "" {
		at := reference.FindStringSubmatchIndex(rest)
		if at == nil {
			if strings.Contains(rest, "$") {
				p.note(n, "is not carried over: of the replacement %q only numbered groups are understood", replacement)
				return
			}
			parts = append(parts, quote(rest))
			break
		}
		if at[0] > 0 {
			parts = append(parts, quote(rest[:at[0]]))
		}
		m := reference.FindStringSubmatch(rest)
		number, err := strconv.Atoi(m[1] + m[2])
		switch {
		case err != nil || number > groups:
			// A group that there is not is empty.
		case number == 0:
			parts = append(parts, p.source(temporary+"value"))
		default:
			parts = append(parts, p.source(prefix+strconv.Itoa(number)))
		}
		rest = rest[at[1]:]
	}
	if len(parts) == 0 {
		parts = []string{`""`}
	}
	p.set(temporary+"value", value)
	condition := matchesWhole(p.source(temporary+"value"), pattern)
	if groups > 0 {
		p.stageIf(condition, "regex", item("from", temporary+"value"), item("pattern", escape(grouped)))
	}
	p.stageIf(condition, "set", item("values", yaml.MapSlice{item("label."+target, escape(strings.Join(parts, " + ")))}))
	p.stage("remove", item("fields", []any{temporary + "group_*", temporary + "value"}))
	p.hasLabel(target)
	delete(p.defined, target)
}

// target returns the label that a rule is for.
func (p *pipeline) target(n node) (string, bool) {
	target := n.get("target_label").text()
	switch {
	case target == "":
		p.note(n, "is not carried over: it has no target_label")
	case slices.Contains(ofReading, target):
		p.note(n, "is not carried over: %s changes how Promtail reads, which is set elsewhere here", target)
	case !plainName.MatchString(target):
		p.note(n, "is not carried over: %q is no name of a label", target)
	default:
		return target, true
	}
	return "", false
}

// maxExpression is the longest expression that others are put together from.
const maxExpression = 4096

// setLabel sets the label that a rule is for, on a condition. One that begins
// with two underscores is for other rules alone.
func (p *pipeline) setLabel(n node, condition, expression string) {
	target, ok := p.target(n)
	if !ok {
		return
	}
	if condition == "" {
		p.defined[target] = expression
	} else {
		before, known := p.defined[target]
		if !known {
			before = `""`
			if p.labels[target] {
				before = "string(" + label(target) + ` ?? "")`
			}
		}
		p.defined[target] = condition + " ? (" + expression + ") : (" + before + ")"
		expression = condition + " ? (" + expression + ") : nil"
	}
	if len(p.defined[target]) > maxExpression {
		delete(p.defined, target)
		if strings.HasPrefix(target, "__") {
			p.note(n, "is not carried over: it is made of too many other rules")
			return
		}
	}
	if strings.HasPrefix(target, "__") || expression == `""` && !p.labels[target] {
		return
	}
	p.set("label."+target, expression)
	p.hasLabel(target)
}

// keepLabels takes labels away by their names.
func (p *pipeline) keepLabels(r rule) {
	whole := regexp.MustCompile("^(?:" + r.pattern + ")$")
	p.removeLabels(func(name string) bool { return whole.MatchString(name) == (r.action == "labeldrop") })
}

// removeLabels takes away the labels that records may have by now and that unwanted
// says.
func (p *pipeline) removeLabels(unwanted func(name string) bool) {
	var fields []any
	for _, name := range sortedKeys(p.labels) {
		if unwanted(name) {
			fields = append(fields, "label."+name)
			delete(p.defined, name)
		}
	}
	if len(fields) > 0 {
		p.stage("remove", item("fields", fields))
	}
}
