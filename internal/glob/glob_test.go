package glob

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMatch(t *testing.T) {
	f := func(pattern, path, want string) {
		t.Helper()
		p, err := Compile(pattern)
		if err != nil {
			t.Errorf("Compile(%q): %v", pattern, err)
			return
		}
		got := "no"
		if values, ok := p.Match(path); ok {
			got = strings.Join(values, ",")
		}
		if got != want {
			t.Errorf("%q matches %q as %q, want %q", pattern, path, got, want)
		}
	}
	f("/var/log/*.log", "/var/log/a.log", "")
	f("/var/log/*.log", "/var/log/b/a.log", "no")
	f("/var/log/*.log", "/var/log/a.log.1", "no")
	f("/var/log/?.log", "/var/log/ab.log", "no")
	f("/var/log/[ab].log", "/var/log/b.log", "")
	f("/var/log/[!ab].log", "/var/log/b.log", "no")
	f("/var/log/[]x].log", "/var/log/].log", "")
	f("/var/log/**/*.log", "/var/log/a.log", "")
	f("/var/log/**/*.log", "/var/log/b/c/a.log", "")
	f("/**/x", "/x", "")
	f("/**/x", "/a/b/x", "")
	f("/**/x", "/a/bx", "no")
	f("/a/**/**/x", "/a/x", "")
	f("/srv/{app}/{env}/*.log", "/srv/shop/prod/a.log", "shop,prod")
	f("/srv/{app}/{env}/*.log", "/srv//prod/a.log", "no")
	f("/srv/app-{n}.log", "/srv/app-1.log", "1")
	f("/srv/{{x}}.log", "/srv/{x}.log", "")
	f(`/srv/\*.log`, "/srv/*.log", "")
	f(`/srv/\*.log`, "/srv/a.log", "no")
	f("/srv/a.b", "/srv/axb", "no")
	f("/srv//a", "/srv/a", "")
}

func TestCompileErrors(t *testing.T) {
	f := func(pattern, want string) {
		t.Helper()
		if _, err := Compile(pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Compile(%q) = %v, want %q", pattern, err, want)
		}
	}
	f("", "absolute")
	f("var/log", "absolute")
	f("/var/log/", "directories")
	f("/var/log/**", "directories")
	f("/var/../x", "..")
	f("/var/[a", "not closed")
	f("/var/[z-a]", "pairs")
	f("/var/{a", "begins no {name}")
	f("/var/{}", "begins no {name}")
	f("/var/a}", "ends nothing")
	f("/{a}/{a}", "twice")
	if _, err := CompileExclude("/x/{a}"); err == nil {
		t.Error("a name in what is left out is no error")
	}
	if _, err := CompileExclude(""); err == nil {
		t.Error("an empty pattern is no error")
	}
}

func TestExclude(t *testing.T) {
	f := func(pattern, path string, want bool) {
		t.Helper()
		p, err := CompileExclude(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if _, got := p.Match(path); got != want {
			t.Errorf("%q matches %q: %v", pattern, path, got)
		}
	}
	f("*.gz", "/a/b/c.gz", true)
	f("*.gz", "/a.gz/b", false)
	f("/a/**/*.gz", "/a/b/c.gz", true)
	f("/a/*.gz", "/a/b/c.gz", false)
}

func TestWalk(t *testing.T) {
	root := t.TempDir()
	for _, path := range []string{"a/x.log", "a/y.txt", "b/x.log", "b/c/x.log", "b/c/d/x.log", "x.log/no"} {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"link.log": "a/x.log", "b/loop": "..", "broken.log": "nowhere"} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	f := func(pattern, files, dirs string) {
		t.Helper()
		p, err := Compile(root + pattern)
		if err != nil {
			t.Fatal(err)
		}
		var gotFiles, gotDirs []string
		in := func(list *[]string) func(string) {
			return func(path string) {
				rel, err := filepath.Rel(root, path)
				if err != nil {
					t.Fatal(err)
				}
				*list = append(*list, rel)
			}
		}
		if err := p.Walk(in(&gotDirs), in(&gotFiles)); err != nil {
			t.Error(err)
		}
		slices.Sort(gotDirs)
		if got := strings.Join(gotFiles, " "); got != files {
			t.Errorf("%s: files %q, want %q", pattern, got, files)
		}
		if got := strings.Join(slices.Compact(gotDirs), " "); got != dirs {
			t.Errorf("%s: directories %q, want %q", pattern, got, dirs)
		}
		for _, path := range gotFiles {
			if _, ok := p.Match(filepath.Join(root, path)); !ok {
				t.Errorf("%s: %s was found and does not match", pattern, path)
			}
		}
	}
	f("/*.log", "link.log", ".")
	f("/a/x.log", "a/x.log", "a")
	f("/a/none.log", "", "a")
	f("/none/*.log", "", "")
	f("/a/x.log/*.log", "", "")
	f("/*/x.log", "a/x.log b/x.log", ". a b x.log")
	f("/**/x.log", "a/x.log b/x.log b/c/x.log b/c/d/x.log", ". a b b/c b/c/d x.log")
	f("/b/**/**/*.log", "b/x.log b/c/x.log b/c/d/x.log", "b b/c b/c/d")
	f("/*/*/x.log", "b/c/x.log", ". a b b/c b/loop x.log")
}
