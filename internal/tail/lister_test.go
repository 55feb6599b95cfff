package tail

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A directory is listed again when it has changed, and only then.
func TestLister(t *testing.T) {
	dir := t.TempDir()
	var l Lister
	touch := func(name string) { must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600)) }
	setTime := func(at time.Time) { must(t, os.Chtimes(dir, at, at)) }
	f := func(want string) {
		t.Helper()
		names, err := l.names(dir)
		must(t, err)
		if got := strings.Join(names, " "); got != want {
			t.Errorf("names %q, want %q", got, want)
		}
	}
	touch("b")
	touch("a")
	f("a b")
	touch("c")
	f("a b c") // two changes at one time of a clock that ticks
	old := time.Now().Add(-time.Hour).Truncate(time.Second).Add(1234567)
	setTime(old)
	f("a b c")
	touch("d")
	setTime(old)
	f("a b c") // as the time says
	setTime(old.Add(1))
	f("a b c d")
	if names, err := l.names(filepath.Join(dir, "none")); err != nil || names != nil {
		t.Errorf("a directory that is not there has %q, %v", names, err)
	}
}

// Rotations are ordered by when they were written last.
func TestRotations(t *testing.T) {
	dir := t.TempDir()
	base := time.Unix(1_700_000_000, 0)
	for i, name := range []string{"app.log.3", "app-20240130.log", "app.log.2.gz", "app.log-20240131", "app.log.1", "app.log", "app-1.log", "application.log"} {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, nil, 0o600))
		must(t, os.Chtimes(path, base.Add(time.Duration(i)*time.Second), base.Add(time.Duration(i)*time.Second)))
	}
	f := func(path, want string) {
		t.Helper()
		paths, err := new(Lister).Rotations(path)()
		must(t, err)
		if got := strings.ReplaceAll(strings.Join(paths, " "), dir+"/", ""); got != want {
			t.Errorf("rotations of %s: %q, want %q", path, got, want)
		}
	}
	const want = "app.log.3 app-20240130.log app.log.2.gz app.log-20240131 app.log.1"
	f(filepath.Join(dir, "app.log"), want)
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(filepath.Join(dir, "app.log"), link))
	f(link, want)
	f(filepath.Join(dir, "none", "app.log"), "")
	paths, err := Numbered(filepath.Join(dir, "app.log"))()
	must(t, err)
	if got := strings.ReplaceAll(strings.Join(paths, " "), dir+"/", ""); got != "app.log.3 app.log.2.gz app.log.1" {
		t.Errorf("numbered rotations: %q", got)
	}
}
