package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestAnchorsAndMergeKeys(t *testing.T) {
	cfg := parsed(t, `
container_monitor:
  include: &filter
    names: &names [a, b]
  exclude:
    images: *names
sinks:
  - &first
    type: loki
    name: first
    url: &url http://first
    timeout: 5s
    labels: &labels {job: x}
  - <<: *first
    name: second
  - name: third
    <<: [{linger: 1s}, *first, {linger: 2s, timeout: 7s}]
    labels:
      <<: *labels
      more: y
`)
	if got, want := cfg.ContainerMonitor.Exclude.Images, []string{"a", "b"}; !reflect.DeepEqual(got, want) {
		t.Errorf("images = %v, want %v", got, want)
	}
	var got []string
	for _, s := range cfg.Sinks {
		got = append(got, fmt.Sprint(s.Name, " ", s.Loki.URL, " ", s.Delivery.Timeout, " ", s.Delivery.Linger, " ", s.Loki.Labels))
	}
	want := []string{
		"first http://first 5s 40ms map[job:x]",
		"second http://first 5s 40ms map[job:x]",
		"third http://first 5s 1s map[job:x more:y]",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// An error in what an alias or a merge key brings points to where it is
// written.
func TestErrorsOfAnchors(t *testing.T) {
	_, err := Parse("c.yaml", []byte(`
sinks:
  - &a
    type: local_file
    format: xml
  - <<: *a
    name: b
    path: c
`), environment())
	want := `c.yaml:5:13: sinks[0].format: want json or text, not "xml"
c.yaml:5:13: sinks[1].format: want json or text, not "xml"`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestByteOrderMarkAndLineEnds(t *testing.T) {
	cfg := parsed(t, "\ufeffhost: a\r\nlog:\r\n  level: warn\r\n")
	if cfg.Host != "a" || cfg.Log.Level != "warn" {
		t.Errorf("got %+v", cfg)
	}
}

// Files that would cost much more than their size are refused.
func TestLimits(t *testing.T) {
	f := func(name, text, want string) {
		t.Helper()
		_, err := Parse("c.yaml", []byte(text), environment())
		if err == nil {
			t.Errorf("%s: no error", name)
			return
		}
		if lines := strings.Split(err.Error(), "\n"); !slices.Contains(lines, want) || len(lines) > 200 {
			t.Errorf("%s: want among at most 200 errors\n%s\ngot %d, the first is\n%s", name, want, len(lines), lines[0])
		}
	}
	f("long", strings.Repeat("#", maxFileBytes+1), "c.yaml: is longer than 1MiB")
	f("tokens", strings.Repeat("a:\n", maxTokens), "c.yaml:10001:1: the file has more than 20000 tokens before this one")
	f("flow", "host: "+strings.Repeat("[", 10_000), "c.yaml:1:105: is nested too deeply")
	f("sequences", strings.Repeat("- ", 5_000), "c.yaml:1:201: is nested too deeply")
	f("blocks", nestedBlocks(200), "c.yaml:100:101: is nested too deeply")
	f("aliases", "container_monitor:\n  include: {names: &a ["+strings.Repeat("x,", 500)+"x]}\nsinks:\n"+
		"- &s {type: loki, url: http://x, labels: &l {"+numbered("l%d: x", 500)+"}}\n"+strings.Repeat("- *s\n", 5000),
		"c.yaml:4:825: sinks[98].labels.l98: the file has more than 50000 values, aliases counted each time")
	merges := "sinks:\n- &m0 {" + numbered("k%d: x", 1000) + "}\n"
	for i := range 100 {
		merges += fmt.Sprintf("- &m%d {<<: [*m%d, *m%d]}\n", i+1, i, i)
	}
	f("merge keys", merges, "c.yaml:27:8: merge keys bring more than 50000 keys")
}

func nestedBlocks(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func numbered(format string, n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(format, i)
	}
	return strings.Join(list, ", ")
}
