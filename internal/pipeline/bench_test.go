package pipeline_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"log_capturer/internal/pipeline"
	"log_capturer/internal/record"
)

// unchanged are stages and a line that each of them leaves as it is.
var unchanged = map[string]string{
	"json":      "- type: json\n  if: line startsWith '{'\n",
	"filter":    "- type: filter\n  drop: level == 'debug' || line contains 'healthz' || stream == 'stderr'\n",
	"container": "- type: filter\n  drop: container startsWith 'test-'\n",
	"level":     "- type: level\n  text: true\n",
	"redact":    "- type: redact\n  presets: [email, ipv4, ipv6, card, jwt, bearer, aws_key, url_password]\n",
	"sample":    "- type: sample\n  one_in: 1\n",
	"collapse":  "- type: collapse\n",
	"limit":     "- type: limit\n  lines_per_second: 1000000000\n",
	"multiline": "- type: multiline\n  preset: any\n",
	"route":     "- type: route\n  default: all\n  rules: [{if: line contains 'ERROR', sinks: [central]}]\n",
	"metrics":   "- type: metrics\n  metrics: [{name: lines_total, type: counter, labels: {stream: stream}}]\n",
	"remove":    "- type: remove\n  fields: [a, b*]\n",
	"rename":    "- type: rename\n  fields: {a: b}\n",
	"time":      "- type: time\n  from: ts\n",
	"drop":      "- type: filter\n  drop: line contains 'cart'\n",
}

const plainLine = `2026-03-01T12:00:00Z user 4711 has put 3 of "blue socks" into the cart of session 8f1b2c, total 12.50 EUR, took 12ms`

// events yields lines of one event that is used again for each, as a monitor
// would.
func events(run *pipeline.Run, line []byte) func() {
	e := &pipeline.Event{}
	n := uint64(0)
	return func() {
		n++
		fields, labels := e.Fields[:0], e.Labels[:0]
		// Every other line is different, so that none is a repeat.
		*e = pipeline.Event{Source: source, Line: line[:len(line)-int(n%2)], Time: 1e18, Captured: 1e18 + int64(n), After: record.Anchor{Seq: n}, Count: 1, Fields: fields, Labels: labels}
		run.Process(e)
	}
}

// TestUnchangedRecordsCostNoAllocation measures what a line costs a stage that
// leaves it as it is.
func TestUnchangedRecordsCostNoAllocation(t *testing.T) {
	for name, stages := range unchanged {
		run := compiled(t, stages, pipeline.NewMetrics()).Open(source, func(*pipeline.Event) {}, nil)
		next := events(run, []byte(plainLine))
		for range 10 {
			next() // buffers grow
		}
		if n := testing.AllocsPerRun(200, next); n != 0 {
			t.Errorf("%s: %v allocations for a line", name, n)
		}
	}
}

func BenchmarkUnchanged(b *testing.B) {
	for _, name := range slices.Sorted(maps.Keys(unchanged)) {
		b.Run(name, func(b *testing.B) { benchmark(b, unchanged[name], plainLine) })
	}
}

// BenchmarkStages measures stages that have something to do.
func BenchmarkStages(b *testing.B) {
	for _, c := range []struct{ name, stages, line string }{
		{"json", "- type: json\n", `{"ts":"2026-03-01T12:00:00Z","level":"info","msg":"request done","http":{"method":"GET","path":"/cart","status":200},"took":0.012,"user":4711}`},
		{"logfmt", "- type: logfmt\n", `ts=2026-03-01T12:00:00Z level=info msg="request done" method=GET path=/cart status=200 took=0.012 user=4711`},
		{"regex", "- type: regex\n  pattern: 'user (?P<user>\\d+) .* total (?P<total>[0-9.]+)'\n", plainLine},
		{"syslog", "- type: syslog\n", `<165>1 2026-02-28T22:14:15.003Z host.example.com evntslog 17 ID47 [ex@32473 iut="3"] An application event`},
		{"access_log", "- type: access_log\n", `127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326 "http://x/" "Mozilla/5.0 (X11)"`},
		{"time", "- type: logfmt\n- type: time\n  from: ts\n", `ts=2026-03-01T12:00:00Z a=b`},
		{"redact", "- type: redact\n  presets: [email, card]\n", "mail bob@example.com about card 4111 1111 1111 1111 please"},
		{"fields", "- type: logfmt\n- type: filter\n  drop: (fields.status ?? 0) >= 500\n", "status=200 a=b"},
		{"template", "- type: template\n  text: '{container} {line}'\n", plainLine},
	} {
		b.Run(c.name, func(b *testing.B) { benchmark(b, c.stages, c.line) })
	}
}

func benchmark(b *testing.B, stages, line string) {
	run := compiled(b, stages, pipeline.NewMetrics()).Open(source, func(*pipeline.Event) {}, nil)
	next := events(run, []byte(line))
	b.ReportAllocs()
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		next()
	}
}

// BenchmarkLongLine measures what a line of 64 KiB costs the searches.
func BenchmarkLongLine(b *testing.B) {
	line := strings.Repeat("some words of a log line, ", 2500)
	for _, name := range []string{"redact", "level", "filter"} {
		b.Run(fmt.Sprint(name, "_", len(line)), func(b *testing.B) { benchmark(b, unchanged[name], line) })
	}
}
