package archtest

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestDependenciesAreDocumented(t *testing.T) {
	read := func(elements ...string) string {
		t.Helper()
		content, err := os.ReadFile(filepath.Join(append([]string{root}, elements...)...))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	report(t, undocumentedDependencies(tree(t), read("go.mod"), read("docs", "dependencies.md")))
}

// undocumentedDependencies compares the modules that the source imports with
// the rows of the document:
//
//	| `module` | what for | why this one |
func undocumentedDependencies(files []file, goMod, doc string) (violations []string) {
	required := requiredModules(goMod)
	used := map[string]bool{}
	for _, f := range files {
		for imported, spec := range f.imports {
			first, _, _ := strings.Cut(imported, "/")
			if !strings.Contains(first, ".") {
				continue // the standard library's, or ours
			}
			found := ""
			for _, m := range required {
				if within(imported, m) && len(m) > len(found) {
					found = m
				}
			}
			if found == "" {
				violations = append(violations, f.violation(spec, "imports %s, which no module in go.mod has", imported))
				continue
			}
			used[found] = true
		}
	}
	documented := map[string]bool{}
	for _, cells := range tableRows(doc) {
		name, ok := code(cells[0])
		if !ok || len(cells) != 3 || cells[1] == "" || cells[2] == "" {
			violations = append(violations, "docs/dependencies.md: a row has three cells, `module`, what for and why: "+strings.Join(cells, " | "))
			continue
		}
		documented[name] = true
	}
	for _, m := range slices.Sorted(maps.Keys(used)) {
		if !documented[m] {
			violations = append(violations, "docs/dependencies.md: "+m+" is used and not listed")
		}
	}
	for _, m := range slices.Sorted(maps.Keys(documented)) {
		if !used[m] {
			violations = append(violations, "docs/dependencies.md: "+m+" is listed and not used")
		}
	}
	return violations
}

// requiredModules returns the paths that go.mod requires.
func requiredModules(goMod string) (modules []string) {
	block := false
	for line := range strings.Lines(goMod) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 2 && fields[0] == "require" && fields[1] == "(":
			block = true
		case len(fields) == 1 && fields[0] == ")":
			block = false
		case block && len(fields) >= 2:
			modules = append(modules, fields[0])
		case len(fields) >= 3 && fields[0] == "require":
			modules = append(modules, fields[1])
		}
	}
	return modules
}

func TestUndocumentedDependenciesAreCaught(t *testing.T) {
	const goMod = `module log_capturer

go 1.26

require example.org/alone v1.0.0

require (
	example.org/a v1.0.0
	example.org/a/nested v1.0.0 // indirect
	example.org/unused v1.0.0
)
`
	files := parse(t, map[string]string{
		"internal/a/a.go":      "package a\nimport (\n\"fmt\"\n\"log_capturer/internal/b\"\n\"example.org/a/nested/deep\"\n\"example.org/ab\"\n)",
		"internal/a/a_test.go": "package a\nimport \"example.org/a/other\"\nimport \"example.org/alone\"",
	})
	const head = "| module | for | why |\n|---|---|---|\n"
	caught(t, undocumentedDependencies(files, goMod, head+"| `example.org/a` | a | b |\n| `example.org/unused` | a | b |\n| example.org/alone | a | b |\n"),
		"internal/a/a.go:6: imports example.org/ab, which no module",
		"docs/dependencies.md: a row has three cells",
		"docs/dependencies.md: example.org/a/nested is used and not listed",
		"docs/dependencies.md: example.org/alone is used and not listed",
		"docs/dependencies.md: example.org/unused is listed and not used",
	)
}
