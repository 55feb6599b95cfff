package archtest

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// module is the path of the module, with the slash that ends it in imports.
const module = "log_capturer/"

// file is one Go file.
type file struct {
	// path is its path from the module's root, with slashes.
	path   string
	syntax *ast.File
	fset   *token.FileSet
}

// dir returns the folder that the file is in, which names its package:
// "internal/record".
func (f file) dir() string { return path.Dir(f.path) }

// isTest reports whether the file is compiled for tests only.
func (f file) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

// isProduct reports whether the file is part of the agent.
func (f file) isProduct() bool { return !f.isTest() && !isTestSupport(f.dir()) }

// isTestSupport reports whether a package exists for tests alone: the testkit,
// this package, what is under tests/, and packages such as vfstest that go with
// the package that they help to test.
func isTestSupport(dir string) bool {
	return within(dir, "internal/testkit") || within(dir, "tests") || within(dir, ".ci") ||
		strings.HasSuffix(path.Base(dir), "test")
}

// within reports whether dir is root or below it.
func within(dir, root string) bool { return dir == root || strings.HasPrefix(dir, root+"/") }

// violation returns a line that says where in the file something is wrong.
func (f file) violation(node ast.Node, format string, args ...any) string {
	return fmt.Sprintf("%s:%d: %s", f.path, f.fset.Position(node.Pos()).Line, fmt.Sprintf(format, args...))
}

// imports returns the paths that the file imports, with where it does.
func (f file) imports(yield func(string, *ast.ImportSpec) bool) {
	for _, spec := range f.syntax.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err == nil && !yield(imported, spec) {
			return
		}
	}
}

// parse parses sources by their path.
func parse(t *testing.T, sources map[string]string) []file {
	t.Helper()
	files, err := parseAll(sources)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func parseAll(sources map[string]string) ([]file, error) {
	var files []file
	fset := token.NewFileSet()
	for name, source := range sources {
		syntax, err := parser.ParseFile(fset, name, source, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, file{path: name, syntax: syntax, fset: fset})
	}
	slices.SortFunc(files, func(a, b file) int { return cmp.Compare(a.path, b.path) })
	return files, nil
}

// root is the module's root.
var root = filepath.Join("..", "..")

// tree returns every Go file of the module.
func tree(t *testing.T) []file {
	t.Helper()
	files, err := parseTree()
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 50 {
		t.Fatalf("%d files found, the module has more: the walk is wrong", len(files))
	}
	return files
}

// parseTree parses the module, once for all tests.
var parseTree = sync.OnceValues(func() ([]file, error) {
	sources := map[string]string{}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := entry.Name()
		if entry.IsDir() {
			if name != root && base != ".ci" && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata") {
				return filepath.SkipDir
			}
			// A module within the module is another one, with imports of its own.
			if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil && name != root {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") {
			return nil
		}
		source, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		sources[filepath.ToSlash(relative)] = string(source)
		return err
	})
	if err != nil {
		return nil, err
	}
	return parseAll(sources)
})

// report fails the test for each violation.
func report(t *testing.T, violations []string) {
	t.Helper()
	for _, v := range violations {
		t.Error(v)
	}
}

// caught checks a positive control: that the violations are those wanted, each
// given by its beginning.
func caught(t *testing.T, got []string, want ...string) {
	t.Helper()
	ok := len(got) == len(want)
	for i := 0; ok && i < len(got); i++ {
		ok = strings.HasPrefix(got[i], want[i])
	}
	if !ok {
		t.Errorf("caught\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}
