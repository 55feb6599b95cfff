package promtail

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// converted returns the result and what is said about it as one text.
func converted(t *testing.T, text string) string {
	t.Helper()
	out, notes, err := Convert([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.Write(out)
	for _, n := range notes {
		fmt.Fprintf(&b, "# %s\n", n)
	}
	return b.String()
}

func TestConvert(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got := converted(t, string(text))
		golden := strings.TrimSuffix(path, ".yaml") + ".golden"
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: got\n%s", path, got)
		}
	}
}

// A note names the line that it is about.
func TestNotesNameTheirLine(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	last := regexp.MustCompile(`([A-Za-z_]+)(?:\[\d+\])?$`)
	all := 0
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(text), "\n")
		_, notes, err := Convert(text)
		if err != nil {
			t.Fatal(err)
		}
		all += len(notes)
		for _, n := range notes {
			if strings.HasSuffix(n.Path, "]") {
				if !strings.HasPrefix(strings.TrimSpace(lines[n.Line-1]), "- ") {
					t.Errorf("%s: %s: the line is %q", path, n, lines[n.Line-1])
				}
				continue
			}
			if key := last.FindStringSubmatch(n.Path); key == nil || !strings.Contains(lines[n.Line-1], key[1]) {
				t.Errorf("%s: %s: the line is %q", path, n, lines[n.Line-1])
			}
		}
	}
	if all < 20 {
		t.Errorf("%d notes: the check has lost its object", all)
	}
}

func TestNoPromtail(t *testing.T) {
	for text, want := range map[string]string{
		"": "it is empty", "a: [": "is no YAML", "- a": "it holds no keys", "7": "it holds no keys",
	} {
		if _, _, err := Convert([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

// Aliases are followed, and one that leads to itself ends.
func TestAliases(t *testing.T) {
	got := converted(t, `
x: &stages
  - output: {source: msg}
scrape_configs:
  - job_name: a
    docker_sd_configs: [{}]
    pipeline_stages: *stages
`)
	if !strings.Contains(got, "line: fields.msg") {
		t.Errorf("got\n%s", got)
	}
	converted(t, "clients: &a\n  - *a\n")
}

func TestSelector(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		got, ok := selector(text)
		if !ok {
			got = "no"
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
	f(`{a="b"}`, `(labels.a ?? "") == "b"`)
	f("{a=~`b\\d`, c!=\"d\"}", "((labels.a ?? \"\") matches `^(?:b\\d)$`) and ((labels.c ?? \"\") != \"d\")")
	f(`{a!~"b"} |= "x" != "y" |~ "z"`, `(not ((labels.a ?? "") matches "^(?:b)$")) and (line contains "x") and (not (line contains "y")) and (line matches "z")`)
	f(`{}`, ``)
	f(`{a="b"} | json`, "no")
	f(`rate({a="b"}[5m])`, "no")
	f(`{a="b`, "no")
}

// FuzzConvert holds that no file makes the converter fail otherwise than by an
// error, and that notes have lines of the file.
func FuzzConvert(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("scrape_configs: [{docker_sd_configs: [{}], relabel_configs: [{source_labels: [a], regex: '(', target_label: b}]}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 16<<10 {
			return
		}
		_, notes, err := Convert(text)
		if err != nil {
			return
		}
		for _, n := range notes {
			if n.Line < 1 || n.Line > bytes.Count(text, []byte("\n"))+bytes.Count(text, []byte("\r"))+1 {
				t.Errorf("%s: there is no such line", n)
			}
		}
	})
}

func TestEscape(t *testing.T) {
	for text, want := range map[string]string{"a$b$": "a$b$", "${a}": "$${a}", "a$$b": "a$$$$b", "$${": "$$$${", "$": "$"} {
		if got := escape(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
