package archtest

import (
	"go/ast"
	"slices"
	"testing"
)

// startsGoroutines are the files of the product that may start a goroutine of
// their own. Whoever adds one says here who waits for it.
var startsGoroutines = []string{
	"internal/lifetime/group.go", // Group.Wait
}

func TestGoroutinesStartInLifetimeOnly(t *testing.T) {
	files := tree(t)
	report(t, goroutineStarts(files, startsGoroutines))
	for _, path := range startsGoroutines {
		if len(goroutineStarts(slices.DeleteFunc(slices.Clone(files), func(f file) bool { return f.path != path }), nil)) == 0 {
			t.Errorf("%s starts no goroutine any more: take it off the list", path)
		}
	}
}

// goroutineStarts finds go statements, and what is one in other clothes: the Go
// of a wait group, told from a lifetime.Group's by its single argument, and
// errgroup.
func goroutineStarts(files []file, allowed []string) (violations []string) {
	for _, f := range files {
		if !f.isProduct() || slices.Contains(allowed, f.path) {
			continue
		}
		for imported, spec := range f.imports {
			if imported == "golang.org/x/sync/errgroup" {
				violations = append(violations, f.violation(spec, "errgroup: use lifetime.Group, which labels its goroutines"))
			}
		}
		ast.Inspect(f.syntax, func(node ast.Node) bool {
			switch node := node.(type) {
			case *ast.GoStmt:
				violations = append(violations, f.violation(node, "go statement: use lifetime.Group, which waits"))
			case *ast.CallExpr:
				if selector, ok := node.Fun.(*ast.SelectorExpr); ok && selector.Sel.Name == "Go" && len(node.Args) == 1 {
					violations = append(violations, f.violation(node, "Go of a wait group: use lifetime.Group, which labels its goroutines"))
				}
			}
			return true
		})
	}
	return violations
}

func TestGoroutineStartsAreCaught(t *testing.T) {
	const breaking = `package a
import "golang.org/x/sync/errgroup"
func f() {
	go f()
	func() { for { go func() {}() } }()
	var wg sync.WaitGroup
	wg.Go(f)
	group.Go("component", f)
}`
	files := parse(t, map[string]string{
		"internal/a/a.go":           breaking,
		"internal/a/a_test.go":      breaking,
		"internal/a/atest/a.go":     breaking,
		"internal/testkit/x/x.go":   breaking,
		"tests/load/x/x.go":         breaking,
		"internal/lifetime/good.go": breaking,
	})
	caught(t, goroutineStarts(files, []string{"internal/lifetime/good.go"}),
		"internal/a/a.go:2: errgroup",
		"internal/a/a.go:4: go statement",
		"internal/a/a.go:5: go statement",
		"internal/a/a.go:7: Go of a wait group",
	)
}

func TestNobodySleeps(t *testing.T) { report(t, sleeps(tree(t))) }

// sleeps finds calls of time.Sleep, which no context can end.
func sleeps(files []file) (violations []string) {
	for _, f := range files {
		if !f.isProduct() {
			continue
		}
		ast.Inspect(f.syntax, func(node ast.Node) bool {
			selector, ok := node.(*ast.SelectorExpr)
			if !ok || selector.Sel.Name != "Sleep" {
				return true
			}
			if pkg, ok := selector.X.(*ast.Ident); ok && pkg.Name == "time" {
				violations = append(violations, f.violation(node, "time.Sleep: select on a timer and the context"))
			}
			return true
		})
	}
	return violations
}

func TestSleepsAreCaught(t *testing.T) {
	const breaking = `package a
func f(clock clock) {
	clock.Sleep(1)
	time.Sleep(1)
	g(time.Sleep)
}`
	files := parse(t, map[string]string{"internal/a/a.go": breaking, "internal/a/a_test.go": breaking})
	caught(t, sleeps(files), "internal/a/a.go:4: time.Sleep", "internal/a/a.go:5: time.Sleep")
}

func TestNobodyWaitsForEver(t *testing.T) { report(t, waitGroups(tree(t))) }

// waitGroups finds sync.WaitGroup, whose Wait has no deadline.
func waitGroups(files []file) (violations []string) {
	for _, f := range files {
		if !f.isProduct() {
			continue
		}
		ast.Inspect(f.syntax, func(node ast.Node) bool {
			selector, ok := node.(*ast.SelectorExpr)
			if !ok || selector.Sel.Name != "WaitGroup" {
				return true
			}
			if pkg, ok := selector.X.(*ast.Ident); ok && pkg.Name == "sync" {
				violations = append(violations, f.violation(node, "sync.WaitGroup: wait with lifetime.Group or lifetime.Tally, which give up on what is stuck"))
			}
			return true
		})
	}
	return violations
}

func TestWaitGroupsAreCaught(t *testing.T) {
	const breaking = "package a\nvar wg sync.WaitGroup\ntype t struct {\n\twg *sync.WaitGroup\n\ttally lifetime.Tally\n}"
	files := parse(t, map[string]string{"internal/a/a.go": breaking, "internal/a/a_test.go": breaking})
	caught(t, waitGroups(files), "internal/a/a.go:2: sync.WaitGroup", "internal/a/a.go:4: sync.WaitGroup")
}
