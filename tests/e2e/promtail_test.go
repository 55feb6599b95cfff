package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"log_capturer/internal/promtail"
	"log_capturer/internal/sinks/loki/lokitest"
	"log_capturer/internal/testkit/agent"
	"log_capturer/internal/testkit/enginetest"
	"log_capturer/internal/testkit/script"
)

// converted returns what the configuration of Promtail of that name becomes, with
// replacements made in it before.
func converted(t *testing.T, name string, replacements ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../internal/promtail/testdata", name+".yaml"))
	enginetest.Must(t, err)
	for i := 0; i < len(replacements); i += 2 {
		if !strings.Contains(string(text), replacements[i]) {
			t.Fatalf("%s has no %q", name, replacements[i])
		}
		text = []byte(strings.ReplaceAll(string(text), replacements[i], replacements[i+1]))
	}
	config, _, err := promtail.Convert(text)
	enginetest.Must(t, err)
	return string(config)
}

// arrived returns what Loki has, an entry a line: its labels, its time if that is
// not one of this test, its line and its metadata, sorted.
func arrived(server *lokitest.Server, since time.Time, dir string) string {
	var list []string
	for _, e := range server.Entries() {
		at := time.Unix(0, e.Time).UTC()
		when := at.Format("2006-01-02T15:04:05.999999999Z")
		if at.After(since.Add(-time.Minute)) && at.Before(time.Now().Add(time.Minute)) {
			when = "now"
		}
		text := fmt.Sprintf("%s %s %q", e.Labels, when, e.Line)
		for _, m := range e.Metadata {
			if m.Name != "stream" && m.Name != "ordinal" {
				text += fmt.Sprintf(" %s=%s", m.Name, m.Value)
			}
		}
		list = append(list, strings.ReplaceAll(text, dir, "/srv/demo")+"\n")
	}
	slices.Sort(list)
	return strings.Join(list, "")
}

// waitArrived waits for what is to arrive, and for some more that is not to.
func waitArrived(t *testing.T, server *lokitest.Server, since time.Time, dir, want string) {
	t.Helper()
	lines := strings.SplitAfter(want, "\n")
	slices.Sort(lines)
	want = strings.Join(lines, "")
	got := ""
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline) && strings.Count(got, "\n") < strings.Count(want, "\n"); time.Sleep(50 * time.Millisecond) {
		got = arrived(server, since, dir)
	}
	time.Sleep(300 * time.Millisecond)
	if got = arrived(server, since, dir); got != want {
		t.Errorf("Loki has\n%s, want\n%s", got, want)
	}
}

func startKeeping(t *testing.T) *lokitest.Server {
	t.Helper()
	server, err := lokitest.Start(lokitest.Options{Keep: true})
	enginetest.Must(t, err)
	t.Cleanup(func() {
		server.Close()
		if v := server.Violations(); len(v) > 0 {
			t.Errorf("pushes that break the protocol: %q", v)
		}
	})
	return server
}

// TestPromtailFiles runs what configurations of Promtail for files become, and
// compares what arrives at Loki with what Promtail's reference says of them:
// labels, times, lines and structured metadata, each once.
func TestPromtailFiles(t *testing.T) {
	cases, err := filepath.Glob("testdata/promtail/*.txtar")
	if err != nil || len(cases) < 4 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	for _, path := range cases {
		name := strings.TrimSuffix(filepath.Base(path), ".txtar")
		t.Run(name, func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			enginetest.Must(t, err)
			dir := t.TempDir()
			want := ""
			// A time without a year is of the last one in which it was.
			before := time.Now().UTC().Truncate(time.Second).Add(-100 * 24 * time.Hour)
			times := strings.NewReplacer("@syslog@", before.Format(time.Stamp), "@time@", before.Format(time.RFC3339))
			for _, f := range archive.Files {
				if f.Name == "want" {
					want = times.Replace(string(f.Data))
					continue
				}
				file := filepath.Join(dir, f.Name)
				enginetest.Must(t, os.MkdirAll(filepath.Dir(file), 0o750))
				enginetest.Must(t, os.WriteFile(file, []byte(times.Replace(string(f.Data))), 0o600))
			}
			server := startKeeping(t)
			since := time.Now()
			agent.Start(t, agent.Options{Config: converted(t, name, "/srv/demo", dir, "http://loki:3100", server.URL())})
			waitArrived(t, server, since, dir, want)
		})
	}
}

// TestPromtailContainers does the same for containers of Compose.
func TestPromtailContainers(t *testing.T) {
	engine := enginetest.New(t)
	id := label(t)
	say := func(lines ...string) script.Script {
		return script.Script{script.Out(strings.Join(lines, "\n") + "\n")}
	}
	run := func(service string, labels map[string]string, s script.Script) string {
		all := map[string]string{labelKey: id, "com.docker.compose.project": "harbour", "com.docker.compose.service": service}
		maps.Copy(all, labels)
		c := engine.Run(t, enginetest.Options{Labels: all, Script: s})
		_, err := c.Wait(time.Minute)
		enginetest.Must(t, err)
		name, err := c.Name()
		enginetest.Must(t, err)
		return name
	}
	gate := run("gate", map[string]string{"owner.team": "edge"}, append(say(
		`{"level":" WARN ","message":"GET /cart 200","ts":"2026-02-03T04:05:06.789Z","request":{"user":"ann"}}`,
		`{"severity":"Info","message":"health ok"}`,
		`no JSON, but POST`,
	), script.Err(`{"level":"error","message":"boom"}`+"\n")))
	store := run("store", nil, say(`{"level":"debug","message":"GET /x","ts":1}`))
	server := startKeeping(t)
	since := time.Now()
	agent.Start(t, agent.Options{Config: converted(t, "compose", "log_capturer.e2e=compose", labelKey+"="+id, "http://loki:3100", server.URL())})
	labelsOf := func(container, service, more string) string {
		return fmt.Sprintf(`{container=%q, job="compose", %sproject="harbour", service=%q, site="harbour", `, container, more, service)
	}
	want := fmt.Sprintf("%s 2026-02-03T04:05:06.789Z %q user=ann\n", labelsOf(gate, "gate", `level="warn", method="GET", `)+`stream="stdout", team="edge"}`, "/cart") +
		fmt.Sprintf("%s now %q\n", labelsOf(gate, "gate", "")+`stream="stdout", team="edge"}`, "no JSON, but POST") +
		fmt.Sprintf("%s now %q\n", labelsOf(gate, "gate", `level="error", `)+`stream="stderr", team="edge"}`, `{"level":"error","message":"boom"}`) +
		fmt.Sprintf("%s now %q\n", labelsOf(store, "store", `level="debug", `)+`stream="stdout"}`, `{"level":"debug","message":"GET /x","ts":1}`)
	waitArrived(t, server, since, "/none", want)
}

// TestPromtailJobs is about two jobs of containers, of which each takes some by
// rules.
func TestPromtailJobs(t *testing.T) {
	engine := enginetest.New(t)
	id := label(t)
	number := rand.Uint32()
	run := func(name string, labels map[string]string, text string) string {
		all := map[string]string{labelKey: id}
		maps.Copy(all, labels)
		name = fmt.Sprintf("%s-%d", name, number)
		c := engine.Run(t, enginetest.Options{Name: name, Labels: all, Script: script.Script{script.Out(text)}})
		_, err := c.Wait(time.Minute)
		enginetest.Must(t, err)
		return name
	}
	app := run("app", map[string]string{"ship-logs": "yes"}, "[1] one\n more\n[2] two\n")
	run("db", nil, "\x1b[31mred\x1b[0m\n")
	run("db-2", map[string]string{"ship.logs": "true", "ship-secret": "x"}, "kept by its name\n")
	run("other", nil, "not wanted\n")
	run("no", map[string]string{"ship.logs": "not true"}, "not wanted either\n")
	server := startKeeping(t)
	since := time.Now()
	agent.Start(t, agent.Options{Config: converted(t, "labelled", "log_capturer.e2e=labelled", labelKey+"="+id, "http://loki:3100", server.URL())})
	waitArrived(t, server, since, "/none", fmt.Sprintf(`{app=%q, job="wanted", origin="app:stdout"} now "[1] one\n more"
{app=%q, job="wanted", origin="app:stdout"} now "[2] two"
{job="database", tier="storage"} now "red"
{job="database", tier="storage"} now "kept by its name"
`, app, app))
}
