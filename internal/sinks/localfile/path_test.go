package localfile

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"log_capturer/internal/record"
)

func render(t testing.TB, text string, src *record.Source) string {
	t.Helper()
	p, err := compilePath(text, "/data")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	return p.render(src, record.Stderr, at.UnixNano())
}

func TestRenderPath(t *testing.T) {
	f := func(text, name, want string) {
		t.Helper()
		src := container(name)
		if got := render(t, text, src); got != want {
			t.Errorf("%q of %q: %q, want %q", text, name, got, want)
		}
	}
	f("{data_dir}/logs/{container_name}.log", "web", "/data/logs/web.log")
	f("{data_dir}/all.log", "web", "/data/all.log")
	f("/l/{date}/{hour}/{compose_project}.{stream}", "web", "/l/2026-02-03/04/shop.stderr")
	f("/l/../m//{container_name}/./x.log", "web", "/m/web/x.log")
	f("/l/{image}.log", "web", "/l/example%2Fapp:1.log")
	f("/l/{container_name}.log", "", "/l/_.log")
	f("/l/{container_name}.log", "_", "/l/%5F.log")
	f("/l/{container_name}", "..", "/l/%2E.")
	f("/l/{container_name}", ".hidden", "/l/%2Ehidden")
	f("/l/{container_name}", "../../etc/passwd", "/l/%2E.%2F..%2Fetc%2Fpasswd")
	f("/l/{container_name}", "a\x00b\nc~%", "/l/a%00b%0Ac%7E%25")
	f("/l/{container_name}", "ż", "/l/%C5%BC")
	// The name of an active file never is that of a closed one.
	f("/l/{container_name}.log", "app-20260102T150405Z-0001", "/l/app-20260102T150405Z-0001~.log")
	f("/l/{container_name}", "app-20260102T150405Z-0001.log.zst", "/l/app-20260102T150405Z-0001.log~.zst")
	f("/l/{container_name}.log", "app-20260102", "/l/app-20260102.log")
}

func TestLongValuesStayApart(t *testing.T) {
	long := strings.Repeat("x", 300)
	seen := map[string]string{}
	for _, name := range []string{long, long + "y", long[:121], long[:120], strings.Repeat("/", 300), strings.Repeat("/", 299)} {
		path := render(t, "/l/{container_name}.log", container(name))
		if n := len(filepath.Base(path)); n > maxValue+4 {
			t.Errorf("%q: %d bytes", path, n)
		}
		if other, ok := seen[path]; ok {
			t.Errorf("%q and %q share %q", name, other, path)
		}
		seen[path] = name
	}
	path := render(t, "/l/{container_name}{container_name}{container_name}", container(long))
	if n := len(filepath.Base(path)); n != maxComponent {
		t.Errorf("%q: %d bytes, want %d", path, n, maxComponent)
	}
}

func FuzzPath(f *testing.F) {
	for _, v := range []string{"", "_", "..", "a/b", "/../..", "\x00", ".", "%2E", strings.Repeat("../", 100), "~"} {
		f.Add(v, "web")
	}
	templates := []string{"{data_dir}/logs/{container_name}", "{data_dir}/logs/{container_name}/{image}.log",
		"{data_dir}/logs/..{container_name}x{image}"}
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, text := range templates {
			path := render(t, text, &record.Source{ContainerName: a, Image: b})
			rel, err := filepath.Rel("/data/logs", path)
			if err != nil || strings.HasPrefix(rel, "../") || rel == ".." || rel == "." {
				t.Fatalf("%q of %q and %q leads to %q", text, a, b, path)
			}
			if strings.Count(rel, "/") != strings.Count(text, "/")-2 {
				t.Fatalf("%q of %q and %q has another depth: %q", text, a, b, path)
			}
			for component := range strings.SplitSeq(rel, "/") {
				if len(component) > maxComponent+1 || strings.ContainsFunc(component, func(r rune) bool { return r < ' ' || r > '~' }) {
					t.Fatalf("%q of %q and %q: component %q", text, a, b, component)
				}
			}
			if looksClosed(filepath.Base(path)) {
				t.Fatalf("%q of %q and %q has the name of a closed file: %q", text, a, b, path)
			}
		}
		one := string(appendSafe(nil, a))
		if two := string(appendSafe(nil, b)); (one == two) != (a == b) {
			t.Fatalf("%q and %q become %q and %q", a, b, one, two)
		}
	})
}

func TestCheckPath(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		err := CheckPath(text)
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	f("{data_dir}/{container_name}.log", "")
	f("logs/{container_name}.log", "")
	f("{container_name}", "")
	f("../x/{container_name}", "")
	f("all.log", "")
	f("", "is empty")
	f("{contaner_name}", "did you mean {container_name}?")
	f("/l/", "names a directory")
	f("/l/{container_name}/", "names a directory")
	f("{data_dir}", "names a directory")
	f("/l/..", "has a ..")
	f("/l/{container_name}/../x", "has a ..")
	f("/l/\x00", "has a NUL")
}

func TestRelativePathsBeginAtTheWorkingDirectory(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	p, err := compilePath("logs/{container_name}", "data")
	if err != nil {
		t.Fatal(err)
	}
	if got := p.render(container("../a"), record.Stdout, 0); got != dir+"/logs/%2E.%2Fa" {
		t.Errorf("got %q", got)
	}
}

func TestClosedName(t *testing.T) {
	at := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	f := func(path, want string) {
		t.Helper()
		got := closedName(path, at, 1)
		if got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
		for _, ext := range []string{"", ".zst", ".gz", ".zst.tmp"} {
			if !looksClosed(filepath.Base(got) + ext) {
				t.Errorf("%q does not look closed", got+ext)
			}
		}
	}
	f("/l/app.log", "/l/app-20260102T150405Z-0001.log")
	f("/l.d/app", "/l.d/app-20260102T150405Z-0001")
	f("/l/.app", "/l/.app-20260102T150405Z-0001")
	f("/l/my.app.log", "/l/my.app-20260102T150405Z-0001.log")
	for _, name := range []string{"app.log", "app-0001.log", "-20260102T150405Z.log", "app-20261302T150405Z-0001.log", ""} {
		if looksClosed(name) {
			t.Errorf("%q looks closed", name)
		}
	}
}
