package archtest

import (
	"go/ast"
	"path"
	"strings"
	"testing"
)

func TestEveryPackageSaysWhatItIsFor(t *testing.T) { report(t, undocumented(tree(t))) }

// undocumented finds packages without a package comment that begins as Go's do,
// and those with more than one.
func undocumented(files []file) (violations []string) {
	docs := map[string][]string{} // by folder, the files that hold one
	var dirs []string
	for _, f := range files {
		if _, seen := docs[f.dir()]; !seen {
			docs[f.dir()] = nil
			dirs = append(dirs, f.dir())
		}
		if f.syntax.Doc == nil {
			continue
		}
		text := f.syntax.Doc.Text()
		begin := "Package " + strings.TrimSuffix(f.syntax.Name.Name, "_test") + " "
		if f.syntax.Name.Name == "main" {
			begin = "Command " + path.Base(f.dir()) + " "
		}
		if !strings.HasPrefix(text, begin) {
			violations = append(violations, f.violation(f.syntax, "package comment does not begin with %q", begin))
		}
		docs[f.dir()] = append(docs[f.dir()], f.path)
	}
	for _, dir := range dirs {
		switch files := docs[dir]; len(files) {
		case 0:
			violations = append(violations, dir+": no package comment")
		case 1:
		default:
			violations = append(violations, dir+": more than one package comment: "+strings.Join(files, ", "))
		}
	}
	return violations
}

func TestUndocumentedPackagesAreCaught(t *testing.T) {
	files := parse(t, map[string]string{
		"internal/bare/a.go":      "package bare",
		"internal/bare/b.go":      "// Not the package's.\n\npackage bare",
		"internal/good/a.go":      "// Package good is.\npackage good",
		"internal/good/b.go":      "package good",
		"internal/twice/a.go":     "// Package twice is.\npackage twice",
		"internal/twice/b.go":     "// Package twice is again.\npackage twice",
		"internal/wrong/a.go":     "// Some words.\npackage wrong",
		"cmd/tool/main.go":        "// Command tool runs.\npackage main",
		"tests/only/some_test.go": "// Package only tests.\npackage only_test",
	})
	caught(t, undocumented(files),
		"internal/wrong/a.go:2: package comment does not begin",
		"internal/bare: no package comment",
		"internal/twice: more than one package comment",
	)
}

func TestEveryPackageLooksForLeaks(t *testing.T) { report(t, leakChecks(tree(t))) }

// leakChecks finds packages with tests whose TestMain does not use goleak. Where
// somebody else's main runs the tests, the check may stand in the Run method of
// what it is given instead.
func leakChecks(files []file) (violations []string) {
	checked := map[string]bool{}
	var dirs []string
	for _, f := range files {
		if !f.isTest() {
			continue
		}
		if _, seen := checked[f.dir()]; !seen {
			checked[f.dir()] = false
			dirs = append(dirs, f.dir())
		}
		for _, declaration := range f.syntax.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok || function.Body == nil {
				continue
			}
			isMain := function.Recv == nil && function.Name.Name == "TestMain"
			isRun := function.Recv != nil && function.Name.Name == "Run"
			if !isMain && !isRun {
				continue
			}
			ast.Inspect(function.Body, func(node ast.Node) bool {
				if call, ok := node.(*ast.CallExpr); ok && isCall(call, "goleak", "VerifyTestMain", "Find") {
					checked[f.dir()] = true
				}
				return true
			})
		}
	}
	for _, dir := range dirs {
		if !checked[dir] {
			violations = append(violations, dir+": its TestMain does not look for leaked goroutines with goleak")
		}
	}
	return violations
}

// isCall reports whether call calls one of the functions of a package.
func isCall(call *ast.CallExpr, pkg string, functions ...string) bool {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	name, ok := selector.X.(*ast.Ident)
	if !ok || name.Name != pkg {
		return false
	}
	for _, function := range functions {
		if selector.Sel.Name == function {
			return true
		}
	}
	return false
}

func TestMissingLeakChecksAreCaught(t *testing.T) {
	files := parse(t, map[string]string{
		"internal/good/a_test.go":    "package good\nfunc TestMain(m *testing.M) { goleak.VerifyTestMain(m) }",
		"internal/good/b_test.go":    "package good\nfunc TestA(t *testing.T) {}",
		"internal/code/a_test.go":    "package code\nfunc TestMain(m *testing.M) { c := m.Run(); if goleak.Find() != nil { c = 1 }; os.Exit(c) }",
		"internal/run/a_test.go":     "package run\nfunc (m leakChecked) Run() int { c := m.M.Run(); if goleak.Find() != nil { c = 1 }; return c }",
		"internal/none/a_test.go":    "package none\nfunc TestA(t *testing.T) {}",
		"internal/lazy/a_test.go":    "package lazy\nfunc TestMain(m *testing.M) { os.Exit(m.Run()) }",
		"internal/astray/a_test.go":  "package astray\nfunc TestA(t *testing.T) { goleak.VerifyNone(t) }",
		"internal/untested/a.go":     "package untested",
		"internal/pointless/some.go": "package pointless\nfunc TestMain(m *testing.M) {}",
	})
	caught(t, leakChecks(files),
		"internal/astray: its TestMain",
		"internal/lazy: its TestMain",
		"internal/none: its TestMain",
	)
}

func TestNobodySkips(t *testing.T) { report(t, skips(tree(t))) }

// skips finds tests that may be skipped. What a test needs is there, or the
// test fails: a promise whose test was skipped is unproven, and looks proven.
func skips(files []file) (violations []string) {
	for _, f := range files {
		ast.Inspect(f.syntax, func(node ast.Node) bool {
			if call, ok := node.(*ast.CallExpr); ok {
				for _, name := range []string{"t", "b", "f", "tb"} {
					if isCall(call, name, "Skip", "Skipf", "SkipNow") {
						violations = append(violations, f.violation(node, "a test that may be skipped"))
					}
				}
			}
			return true
		})
	}
	return violations
}

func TestSkipsAreCaught(t *testing.T) {
	files := parse(t, map[string]string{
		"internal/a/a_test.go":    "package a\nfunc TestA(t *testing.T) {\n\tt.Skip()\n\tt.Run(\"x\", func(t *testing.T) {\n\t\tt.Skipf(\"%d\", 1)\n\t})\n}",
		"internal/testkit/t/t.go": "package t\nfunc Need(tb testing.TB) {\n\ttb.SkipNow()\n}",
		"internal/scan/s.go":      "package scan\nfunc f(s *scanner) { s.Skip() }",
	})
	caught(t, skips(files), "internal/a/a_test.go:3:", "internal/a/a_test.go:5:", "internal/testkit/t/t.go:3:")
}
