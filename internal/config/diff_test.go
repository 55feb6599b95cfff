package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestDiff says which parts differ, for every part that there is.
func TestDiff(t *testing.T) {
	token := filepath.Join(t.TempDir(), "ca.pem")
	write := func(text string) {
		if err := os.WriteFile(token, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parse := func(text string) *Config {
		t.Helper()
		c, err := Parse("c.yaml", []byte(strings.ReplaceAll(text, "TOKEN", token)), func(string) (string, bool) { return "", false })
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	f := func(running, next, parts, refusal string) {
		t.Helper()
		d := Diff(parse(running), parse(next))
		if got := strings.Join(d.Parts, " "); got != parts {
			t.Errorf("from %s to %s: %q differ, want %q", running, next, got, parts)
		}
		message := ""
		if err := d.Err(); err != nil {
			message = err.Error()
		}
		if message != refusal {
			t.Errorf("from %s to %s: refused with %q, want %q", running, next, message, refusal)
		}
	}
	const a, b = "{type: loki, name: a, url: 'http://x'}", "{type: loki, name: b, url: 'http://x'}"
	f("", "", "", "")
	f("log: {level: info}", "log: {level: info, format: text}", "", "") // the defaults
	f("", "log: {level: debug}", "log", "")
	f("", "container_monitor: {include: {names: [a]}}", "container_monitor", "")
	f("", "file_monitor: {files: [{include: [/a]}]}", "file_monitor", "")
	f("", "kafka_source: {enabled: true, brokers: ['a:1'], topics: [a]}", "kafka_source", "")
	f("", "dispatcher: {shutdown_timeout: 1s}", "dispatcher", "")
	f("", "pipelines: [{name: a, stages: [{type: level}]}]", "pipelines", "")
	f("pipelines: [{name: a, stages: [{type: filter, drop: 'true'}]}]", "pipelines: [{name: a, stages: [{type: filter, drop: 'false'}]}]", "pipelines", "")
	f("", "{server: {listen: ':1'}, metrics: {enabled: false}, pprof: {enabled: false}}", "server metrics pprof",
		"a change of server (its port is open), metrics (its port is open), pprof (its port is open) takes a restart of the agent; nothing was changed")
	f("", "data_dir: /x", "data_dir", "a change of data_dir (all that is kept is in it) takes a restart of the agent; nothing was changed")
	f("", "{host: a, log: {level: warn}, selfwatch: {window: 1h}}", "host log selfwatch",
		"a change of host (every record has it), selfwatch (what was counted before could not be compared) takes a restart of the agent; nothing was changed")
	f("", "{memory_limit: 1GiB, dead_letters: {max_bytes: 1GiB}}", "memory_limit dead_letters",
		"a change of memory_limit (the Go runtime keeps to it from the start), dead_letters (the store is open) takes a restart of the agent; nothing was changed")
	f("sinks: ["+a+", "+b+"]", "sinks: ["+b+", "+a+"]", "", "") // their order is no matter
	f("sinks: ["+a+"]", "sinks: ["+b+"]", "sinks.b sinks.a", "")
	f("sinks: ["+a+", "+b+"]", "sinks: [{type: http, name: a, url: 'http://x'}, "+b+"]", "sinks.a", "")
	f("sinks: [{type: splunk, url: 'http://x', token: a}]", "sinks: [{type: splunk, url: 'http://x', token: b}]", "sinks.splunk", "")

	write("one")
	with := "sinks: [{type: loki, url: 'http://x', bearer_token_file: TOKEN}]"
	running := parse(with)
	write("two")
	if d := Diff(running, parse(with)); !slices.Equal(d.Parts, []string{"sinks.loki"}) || !d.Has(SinkPart("loki")) {
		t.Errorf("another secret in the file: %+v", d)
	}
}
