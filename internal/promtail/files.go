package promtail

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// podJob makes a file set of the pods of this machine.
func (c *converter) podJob(n, configs node) job {
	c.note(configs, "the files below /var/log/pods are read: the namespace, the pod and the container are known from their paths, and nothing else of a pod")
	pattern := "/var/log/pods/*/*/*.log"
	cri := hasStage(n, "cri")
	c.addFiles(configs, pattern, yaml.MapSlice{item("include", []any{pattern}), item("format", format(cri))})
	return job{node: n, kind: pods, selection: yaml.MapSlice{item("files", []any{pattern})}, cri: cri}
}

// fileJob makes file sets of a job's static targets.
func (c *converter) fileJob(n, configs node) job {
	j := job{node: n, kind: files, cri: hasStage(n, "cri")}
	var patterns []any
	var sets []yaml.MapSlice
	for _, config := range configs.list() {
		var labels yaml.MapSlice
		at := config.get("labels").get("__path__")
		if at.text() == "" {
			c.note(config, "is not carried over: it has no __path__")
			continue
		}
		include := c.paths(at, at.text())
		if len(include) == 0 {
			continue
		}
		var exclude []any
		for _, e := range config.get("labels").entries() {
			switch {
			case e.key == "__path__":
			case e.key == "__path_exclude__":
				exclude = c.paths(e.value, e.value.text())
			case strings.HasPrefix(e.key, "__"):
				if e.key != "__address__" {
					c.note(e.value, "is not carried over: it is no label of what is sent, and nothing corresponds to it")
				}
			default:
				labels = append(labels, item(e.key, e.value.text()))
			}
		}
		set := yaml.MapSlice{item("include", include)}
		if len(exclude) > 0 {
			set = append(set, item("exclude", exclude))
		}
		if len(labels) > 0 {
			set = append(set, item("labels", escaped(labels)))
		}
		set = append(set, item("format", format(j.cri)))
		c.addFiles(at, at.text(), set)
		patterns = append(patterns, include...)
		sets = append(sets, labels)
		c.leftOver(config, "targets", "labels")
	}
	if len(patterns) == 0 {
		return j
	}
	j.selection = yaml.MapSlice{item("files", patterns)}
	j.fixed = fixedLabels(sets)
	return j
}

// format is how the lines of files are written: Promtail takes them as they are
// without the stage cri.
func format(cri bool) string {
	if cri {
		return "cri"
	}
	return "plain"
}

// fixedLabels returns the expressions of the labels of file sets: constants where
// all sets have the same.
func fixedLabels(sets []yaml.MapSlice) yaml.MapSlice {
	var fixed yaml.MapSlice
	seen := map[any]bool{}
	for _, set := range sets {
		for _, l := range set {
			if seen[l.Key] {
				continue
			}
			seen[l.Key] = true
			same := !slices.ContainsFunc(sets, func(other yaml.MapSlice) bool {
				return !slices.ContainsFunc(other, func(o yaml.MapItem) bool { return o == l })
			})
			name, _ := l.Key.(string)
			value, _ := l.Value.(string)
			expression := "get(container_labels, " + quote(name) + ")"
			if same {
				expression = quote(value)
			}
			fixed = append(fixed, item(name, expression))
		}
	}
	return fixed
}

// escaped returns the entries of a mapping as a configuration has them.
func escaped(values yaml.MapSlice) yaml.MapSlice {
	var list yaml.MapSlice
	for _, v := range values {
		text, _ := v.Value.(string)
		list = append(list, item(fmt.Sprint(v.Key), escape(text)))
	}
	return list
}

// addFiles adds a file set, and says where files are in one before it as well.
func (c *converter) addFiles(n node, pattern string, set yaml.MapSlice) {
	for _, earlier := range c.patterns {
		if overlap(earlier, pattern) {
			c.note(n, "files that %s matches as well are read once, with its labels, where Promtail sends their lines for both", earlier)
			break
		}
	}
	c.patterns = append(c.patterns, pattern)
	c.fileSets = append(c.fileSets, set)
}

// overlap reports whether two patterns obviously match some file both.
func overlap(a, b string) bool {
	plain := func(s string) string { return strings.NewReplacer("*", "x", "?", "x").Replace(s) }
	ab, _ := path.Match(a, plain(b))
	ba, _ := path.Match(b, plain(a))
	return ab || ba || a == b
}

// paths returns the patterns of files that one of Promtail stands for.
func (c *converter) paths(n node, text string) []any {
	var list []any
	all := braces(strings.TrimSpace(text))
	if len(all) == maxPatterns {
		c.note(n, "stands for very many patterns: more than %d are left out", maxPatterns)
	}
	for _, pattern := range all {
		switch {
		case !strings.HasPrefix(pattern, "/") && !strings.HasPrefix(pattern, dollar):
			c.note(n, "is not carried over: %q is no absolute path", pattern)
			continue
		case strings.HasSuffix(pattern, "/"):
			c.note(n, "is not carried over: %q is a directory", pattern)
			continue
		case compressed.MatchString(pattern):
			c.note(n, "files that are compressed are left out")
		}
		if pattern = strings.ReplaceAll(pattern, "[^", "[!"); strings.HasSuffix(pattern, "/**") {
			pattern += "/*"
		}
		pattern = strings.NewReplacer("{", "{{", "}", "}}").Replace(pattern)
		list = append(list, escape(bracesOfVariables.ReplaceAllString(pattern, dollar+"{$1}")))
	}
	return list
}

var compressed = regexp.MustCompile(`\.(?:gz|zst|bz2|xz|lz4|zip)$`)

// maxPatterns is how many patterns one may stand for.
const maxPatterns = 64

// braces returns the patterns that one with {a,b} in it stands for.
func braces(pattern string) []string {
	for from := 0; ; {
		open := strings.IndexByte(pattern[from:], '{')
		if open < 0 {
			return []string{pattern}
		}
		open += from
		end := strings.IndexByte(pattern[open:], '}')
		if end < 0 {
			return []string{pattern}
		}
		if strings.HasSuffix(pattern[:open], dollar) {
			from = open + end
			continue
		}
		var list []string
		for _, alternative := range strings.Split(pattern[open+1:open+end], ",") {
			if len(list) >= maxPatterns {
				break
			}
			list = append(list, braces(pattern[:open]+alternative+pattern[open+end+1:])...)
		}
		return list[:min(len(list), maxPatterns)]
	}
}
