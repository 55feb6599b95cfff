package archtest

import (
	"path"
	"slices"
	"strings"
	"testing"
)

// importRule says what of the module the product files of some packages may
// import.
type importRule struct {
	// packages are the folders that the rule is for, with all below them.
	packages []string
	// only holds all that they may import, each with what is below it. Nil
	// means that forbidden decides.
	only []string
	// forbidden holds what they must not import, with what is below it. What a
	// package imports of its own folder or below is never forbidden.
	forbidden []string
	why       string
}

// wiring are the packages that know the others.
var wiring = []string{"cmd", "internal/app", "internal/cli", "internal/tools"}

// above are the packages that no part of a line's way may know.
var above = append([]string{"internal/config", "internal/server"}, wiring...)

var importRules = []importRule{
	{
		packages: []string{"internal/record", "internal/health", "internal/lifetime", "internal/vfs", "internal/planted", "internal/reuse", "internal/secret", "internal/spelling"},
		only:     []string{},
		why:      "every arrow points at it, so none may leave it",
	},
	{
		packages: []string{"internal/cli"},
		only:     []string{"internal/config", "internal/client", "internal/server", "internal/lifetime", "internal/cursors", "internal/promtail", "internal/pipeline", "internal/record", "internal/reload", "internal/spelling"},
		why:      "the commands read the config, try its pipelines, ask a running agent, and get what runs as a function",
	},
	{
		packages: []string{"internal/client"},
		only:     []string{"internal/server", "internal/cursors"},
		why:      "it knows the agent by its API alone",
	},
	{
		packages: []string{"internal/reload"},
		only:     []string{"internal/config", "internal/health", "internal/lifetime"},
		why:      "it reads the config, and is given what applies it",
	},
	{
		packages: []string{"internal/promtail"},
		only:     []string{},
		why:      "it knows another program's configuration, and of ours only what the reference says",
	},
	{
		packages: []string{"cmd"},
		only:     []string{"internal/cli", "internal/app", "internal/tools"},
		why:      "main joins the commands with the app, and nothing else",
	},
	{
		packages: []string{"internal/tools"},
		only:     []string{"internal/cli", "internal/config", "internal/record", "internal/spelling", "internal/spool", "internal/vfs"},
		why:      "the tools look at what the agent keeps, and ask the rest of its API",
	},
	{
		packages:  []string{"internal/monitors"},
		forbidden: append([]string{"internal/sinks", "internal/delivery", "internal/dispatcher", "internal/queue"}, above...),
		why:       "a monitor knows nothing of where its records go",
	},
	{
		packages:  []string{"internal/sinks"},
		forbidden: append([]string{"internal/monitors", "internal/dispatcher", "internal/queue"}, above...),
		why:       "a sink knows nothing of where its records come from",
	},
	{
		packages: []string{
			"internal/delivery", "internal/dispatcher", "internal/queue", "internal/spool", "internal/limit", "internal/deadletter",
			"internal/positions", "internal/framing", "internal/pipeline", "internal/tail",
			"internal/httpclient", "internal/template", "internal/selfwatch", "internal/jsondoc",
			"internal/identity", "internal/sourcecache", "internal/livetail", "internal/glob", "internal/cursors",
			"internal/kafkaclient",
		},
		forbidden: append([]string{"internal/monitors", "internal/sinks"}, above...),
		why:       "only app knows all",
	},
	{
		packages:  []string{"internal/config"},
		forbidden: append([]string{"internal/monitors", "internal/sinks", "internal/delivery", "internal/server"}, wiring...),
		why:       "the config describes the parts without knowing them; app maps it to their options",
	},
	{
		packages:  []string{"internal/server"},
		forbidden: append([]string{"internal/monitors", "internal/sinks", "internal/delivery", "internal/config"}, wiring...),
		why:       "the server shows what it is given",
	},
}

func TestImports(t *testing.T) {
	files := tree(t)
	report(t, importViolations(files))
	report(t, siblingImports(files))
	report(t, supportImports(files))
	report(t, unruled(files))
}

// importViolations finds imports that break importRules.
func importViolations(files []file) (violations []string) {
	for _, f := range files {
		if !f.isProduct() {
			continue
		}
		for imported, spec := range f.imports {
			target, ours := strings.CutPrefix(imported, module)
			if !ours || within(target, f.dir()) {
				continue
			}
			for _, rule := range importRules {
				if !slices.ContainsFunc(rule.packages, func(p string) bool { return within(f.dir(), p) }) {
					continue
				}
				matches := func(p string) bool { return within(target, p) }
				if rule.only != nil && !slices.ContainsFunc(rule.only, matches) || slices.ContainsFunc(rule.forbidden, matches) {
					violations = append(violations, f.violation(spec, "imports %s: %s", target, rule.why))
				}
			}
		}
	}
	return violations
}

// siblingImports finds a monitor that imports another monitor, and a sink that
// imports another sink.
func siblingImports(files []file) (violations []string) {
	for _, f := range files {
		parent := path.Dir(f.dir())
		if !f.isProduct() || parent != "internal/monitors" && parent != "internal/sinks" {
			continue
		}
		for imported, spec := range f.imports {
			target := strings.TrimPrefix(imported, module)
			if within(target, parent) && target != parent && !within(target, f.dir()) {
				violations = append(violations, f.violation(spec, "imports its neighbour %s", target))
			}
		}
	}
	return violations
}

// supportImports finds product files that import what is there for tests.
func supportImports(files []file) (violations []string) {
	for _, f := range files {
		if !f.isProduct() {
			continue
		}
		for imported, spec := range f.imports {
			target, ours := strings.CutPrefix(imported, module)
			if imported == "testing" || ours && isTestSupport(target) {
				violations = append(violations, f.violation(spec, "imports %s, which is for tests", imported))
			}
		}
	}
	return violations
}

// unruled finds packages of the product that no rule is about, so that a new
// package gets one.
func unruled(files []file) (violations []string) {
	seen := map[string]bool{"internal/app": true} // which imports all
	for _, f := range files {
		if !f.isProduct() || seen[f.dir()] {
			continue
		}
		seen[f.dir()] = true
		if !slices.ContainsFunc(importRules, func(rule importRule) bool {
			return slices.ContainsFunc(rule.packages, func(p string) bool { return within(f.dir(), p) })
		}) {
			violations = append(violations, f.dir()+": no import rule is about this package; add it to one")
		}
	}
	return violations
}

func TestImportViolationsAreCaught(t *testing.T) {
	source := func(imports ...string) string {
		return "package a\nimport (\n\"" + strings.Join(imports, "\"\n\"") + "\"\n)"
	}
	files := parse(t, map[string]string{
		"internal/record/r.go":                source("time", "log_capturer/internal/health"),
		"internal/record/r_test.go":           source("log_capturer/internal/testkit/numbered"),
		"internal/cli/c.go":                   source("log_capturer/internal/config", "log_capturer/internal/app"),
		"internal/app/a.go":                   source("log_capturer/internal/config", "log_capturer/internal/sinks/loki", "log_capturer/internal/testkit/agent"),
		"internal/delivery/d.go":              source("log_capturer/internal/record", "log_capturer/internal/configuration", "log_capturer/internal/config"),
		"internal/monitors/container/m.go":    source("log_capturer/internal/monitors/container/inner", "log_capturer/internal/monitors/file", "log_capturer/internal/sinks/loki"),
		"internal/sinks/loki/l.go":            source("log_capturer/internal/delivery", "log_capturer/internal/sinks/localfile", "log_capturer/internal/config"),
		"internal/sinks/loki/l_test.go":       source("log_capturer/internal/sinks/loki/lokitest", "log_capturer/internal/config"),
		"internal/sinks/loki/lokitest/l.go":   source("testing", "log_capturer/internal/testkit"),
		"internal/sinks/localfile/product.go": source("testing", "log_capturer/internal/vfs/vfstest"),
		"internal/newcomer/n.go":              source("log_capturer/internal/record"),
		"tests/e2e/e.go":                      source("log_capturer/internal/testkit/agent", "log_capturer/internal/app"),
	})
	caught(t, importViolations(files),
		"internal/cli/c.go:4: imports internal/app:",
		"internal/delivery/d.go:5: imports internal/config:",
		"internal/monitors/container/m.go:5: imports internal/sinks/loki:",
		"internal/record/r.go:4: imports internal/health:",
		"internal/sinks/loki/l.go:5: imports internal/config:",
	)
	caught(t, siblingImports(files),
		"internal/monitors/container/m.go:4: imports its neighbour internal/monitors/file",
		"internal/sinks/loki/l.go:4: imports its neighbour internal/sinks/localfile",
	)
	caught(t, supportImports(files),
		"internal/app/a.go:5: imports log_capturer/internal/testkit/agent",
		"internal/sinks/localfile/product.go:3: imports testing",
		"internal/sinks/localfile/product.go:4: imports log_capturer/internal/vfs/vfstest",
	)
	caught(t, unruled(files), "internal/newcomer:")
}
