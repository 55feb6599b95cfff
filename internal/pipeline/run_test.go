package pipeline_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"log_capturer/internal/pipeline"
	"log_capturer/internal/record"
	"log_capturer/internal/secret"
)

// TestHeldLinesComeInTime says that a line is not held for longer than the stage
// says when no other follows.
func TestHeldLinesComeInTime(t *testing.T) {
	f := func(stages, second string, wait time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			out := 0
			run := compiled(t, stages, pipeline.NewMetrics()).Open(source, func(e *pipeline.Event) { out += e.Count }, nil)
			in := 0
			process := func(line string) {
				in++
				run.Process(&pipeline.Event{Source: source, Stream: record.Stderr, Line: []byte(line), Captured: time.Now().UnixNano()})
			}
			process("a")
			process(second)
			if !run.Holds() || out == in {
				t.Fatalf("%s: nothing is held", stages)
			}
			time.Sleep(wait - 1)
			if run.Flush(); out == in {
				t.Errorf("%s: came early", stages)
			}
			time.Sleep(time.Nanosecond)
			if run.Flush(); out != in || run.Holds() {
				t.Errorf("%s: %d of %d came", stages, out, in)
			}
		})
	}
	f("- {type: multiline, continuation: '^ ', max_wait: 3s}", " b", 3*time.Second)
	f("- {type: collapse, window: 7s}", "a", 7*time.Second)
}

// What one stage sends on at the end, the next may hold: it is sent on too.
func TestCloseGoesThroughAllStages(t *testing.T) {
	var got []string
	run := compiled(t, "- {type: collapse, window: 1h}\n- {type: multiline, start: '^x'}\n- {type: collapse, window: 1h}", pipeline.NewMetrics()).
		Open(source, func(e *pipeline.Event) { got = append(got, fmt.Sprintf("%s*%d", e.Line, e.Count)) }, nil)
	for range 3 {
		run.Process(&pipeline.Event{Source: source, Line: []byte("a")})
	}
	run.Close()
	if strings.Join(got, " ") != "a\na*3" || run.Holds() {
		t.Errorf("got %q", got)
	}
}

func TestLimitGoesByTheRecordsTimes(t *testing.T) {
	f := func(stages string, every time.Duration, line func(i int) string, want int) {
		t.Helper()
		out := 0
		run := compiled(t, stages, pipeline.NewMetrics()).Open(source, func(*pipeline.Event) { out++ }, nil)
		for i := range 100 {
			run.Process(&pipeline.Event{Source: source, Line: []byte(line(i)), Captured: 1e18 + int64(i)*int64(every)})
		}
		if out != want {
			t.Errorf("%s: %d lines passed, want %d", stages, out, want)
		}
	}
	same := func(int) string { return "0123456789" }
	f("- {type: limit, lines_per_second: 5}", time.Hour, same, 100)
	f("- {type: limit, lines_per_second: 5}", 0, same, 5)
	f("- {type: limit, lines_per_second: 5, burst: 3}", 0, same, 15)
	f("- {type: limit, lines_per_second: 5}", 100*time.Millisecond, same, 5+49) // 9.9 s, and what was full at first
	f("- {type: limit, bytes_per_second: 100}", 0, same, 10)
	f("- {type: limit, bytes_per_second: 5}", time.Second, same, 50) // each larger than a full bucket
	// Ten keys with five lines each; beyond three of them, the others share.
	key := func(i int) string { return fmt.Sprint(i % 10) }
	f("- {type: limit, lines_per_second: 5, key: line}", 0, key, 50)
	f("- {type: limit, lines_per_second: 5, key: line, max_keys: 3}", 0, key, 20)
	f("- {type: limit, lines_per_second: 5}", -time.Second, same, 5) // a clock that goes back
}

// TestSamplesByKeyAreEven says that a key is kept or dropped as one, and that a
// part of the keys is.
func TestSamplesByKeyAreEven(t *testing.T) {
	kept := map[string]int{}
	run := compiled(t, "- {type: sample, one_in: 4, key: line}", pipeline.NewMetrics()).
		Open(source, func(e *pipeline.Event) { kept[string(e.Line)]++ }, nil)
	for range 2 {
		for i := range 4000 {
			run.Process(&pipeline.Event{Source: source, Line: []byte(fmt.Sprint("trace-", i))})
		}
	}
	if len(kept) < 800 || len(kept) > 1200 {
		t.Errorf("%d of 4000 keys are kept, want about 1000", len(kept))
	}
	for key, n := range kept {
		if n != 2 {
			t.Errorf("%s was kept %d times of 2", key, n)
		}
	}
}

func TestMetricsFromLogs(t *testing.T) {
	metrics := pipeline.NewMetrics()
	p := compiled(t, `
- type: logfmt
- type: metrics
  max_series: 3
  metrics:
    - {name: lines_total, type: counter, help: Lines., labels: {user: fields.user}}
    - {name: seconds, type: histogram, help: Times., value: fields.took, buckets: ["0.1", "1"]}
    - {name: level_of, type: gauge, help: Last., value: fields.took, labels: {stream: stream}}
`, metrics)
	run := p.Open(source, func(*pipeline.Event) {}, nil)
	for i := range 10 {
		run.Process(&pipeline.Event{Source: source, Line: fmt.Appendf(nil, "user=u%d took=0.%d", i, i)})
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics.Made())
	const want = `# HELP level_of Last.
# TYPE level_of gauge
level_of{stream="stdout"} 0.9
# HELP lines_total Lines.
# TYPE lines_total counter
lines_total{user="u0"} 1
lines_total{user="u1"} 1
lines_total{user="other"} 8
# HELP seconds Times.
# TYPE seconds histogram
seconds_bucket{le="0.1"} 2
seconds_bucket{le="1"} 10
seconds_bucket{le="+Inf"} 10
seconds_sum 4.5
seconds_count 10
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

// What stages drop and fail on is counted, by the records that an event covers.
func TestDropsAndFailuresAreCounted(t *testing.T) {
	metrics := pipeline.NewMetrics()
	run := compiled(t, "- {type: multiline, continuation: '^ '}\n- {type: filter, drop: 'line contains \"x\"', reason: unwanted}\n- {type: json, name: parse}", metrics).
		Open(source, func(*pipeline.Event) {}, nil)
	for _, line := range []string{"x", " 1", " 2", "no json", "{}"} {
		run.Process(&pipeline.Event{Source: source, Line: []byte(line)})
	}
	run.Close()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics)
	const want = `# HELP log_capturer_pipeline_failures_total Records that a stage has failed on, by pipeline, the stage's name and the reason.
# TYPE log_capturer_pipeline_failures_total counter
log_capturer_pipeline_failures_total{pipeline="p",reason="not_json",stage="parse"} 1
# HELP log_capturer_records_dropped_total Records that were given up, by where and why.
# TYPE log_capturer_records_dropped_total counter
log_capturer_records_dropped_total{reason="unwanted",sink="",stage="filter"} 3
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

// Metrics of one name are one metric, or an error.
func TestMetricsOfOneName(t *testing.T) {
	const one = "- type: metrics\n  metrics: [{name: a_total, type: counter}]\n"
	if _, err := tableOf(one+one, pipeline.NewMetrics()); err != nil {
		t.Error(err)
	}
	_, err := tableOf(one+"- type: metrics\n  metrics: [{name: a_total, type: gauge, value: '1'}]\n", pipeline.NewMetrics())
	if err == nil || !strings.Contains(err.Error(), "another stage makes a_total") {
		t.Errorf("got %v", err)
	}
}

// TestBadOptions has an error of each option that can be wrong.
func TestBadOptions(t *testing.T) {
	f := func(stage, want string) {
		t.Helper()
		_, err := tableOf("- "+stage, pipeline.NewMetrics())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", stage, err, want)
		}
	}
	f("{type: level, if: 'line =='}", "if: unexpected token EOF")
	f("{type: level, if: line}", "if: expected bool, but got string")
	f("{type: level, if: nothing}", "if: unknown name nothing")
	f("{type: level, on_error: ignore}", "on_error: want keep, drop or route:SINK")
	f("{type: level, on_error: 'route:x'}", `on_error: there is no sink "x"; there are local_file, central`)
	f("{type: level, default: loud}", "default: want trace, debug")
	f("{type: json, max_depth: 0}", "0 is too small")
	f("{type: regex, pattern: '(?P<a>'}", "pattern: error parsing regexp")
	f("{type: regex, pattern: 'a'}", "pattern: has no named group")
	f("{type: regex}", "pattern: is empty")
	f("{type: syslog, zone: Nowhere/City}", "zone: there is no time zone")
	f("{type: key_value, pairs: ''}", "pairs: is empty")
	f("{type: key_value, between: ' '}", "between: is the same as pairs")
	f("{type: csv}", "columns: is empty")
	f("{type: csv, columns: [a], separator: ';;'}", "separator: want one character")
	f("{type: time}", "from: is missing")
	f("{type: time, from: a, layouts: [iso]}", "layouts[0]: \"iso\" is no layout")
	f("{type: multiline}", "give one of preset, start, continuation, end and unfinished")
	f("{type: multiline, preset: java, start: x}", "give one of preset")
	f("{type: multiline, preset: cobol}", `preset: there is no preset "cobol"`)
	f("{type: multiline, start: '('}", "start: error parsing regexp")
	f("{type: filter}", "give either keep or drop")
	f("{type: filter, keep: 'true', drop: 'true'}", "give either keep or drop")
	f("{type: filter, keep: 'true', reason: 'No Way'}", "reason: want up to 40")
	f("{type: sample}", "one_in: is missing")
	f("{type: redact}", "give presets, patterns or both")
	f("{type: redact, presets: [names]}", `presets[0]: there is no preset "names"`)
	f("{type: redact, patterns: ['a*']}", "patterns[0]: matches an empty text")
	f("{type: redact, presets: [email], action: hash, key: short}", "key: want at least 16")
	f("{type: redact, presets: [email], key: 0123456789abcdef0}", "key: is for the action hash")
	f("{type: set}", "values: is empty")
	f("{type: set, values: {label.a-b: line}}", "is no name of a label")
	f("{type: set, values: {a: 'line +'}}", "values.a: unexpected token EOF")
	f("{type: remove}", "fields: is empty")
	f("{type: remove, fields: ['[']}", "is no pattern")
	f("{type: rename, fields: {a: ''}}", "fields.a: want the name")
	f("{type: template, text: 'a } b'}", "text: '}' at byte 3 closes nothing")
	f("{type: template, text: 'a { b'}", "text: '{' at byte 3 is not closed")
	f("{type: limit}", "give lines_per_second")
	f("{type: metrics}", "metrics: is empty")
	f("{type: metrics, metrics: [{name: log_capturer_x, type: counter}]}", "metrics[0].name: want a name")
	f("{type: metrics, metrics: [{name: x}]}", "metrics[0].type: is missing")
	f("{type: metrics, metrics: [{name: x, type: gauge}]}", "metrics[0].value: is missing")
	f("{type: metrics, metrics: [{name: x, type: counter, value: line}]}", "metrics[0].value: expected float64, but got string")
	f("{type: metrics, metrics: [{name: x, type: counter, buckets: [1]}]}", "metrics[0].buckets: are for a histogram")
	f("{type: metrics, metrics: [{name: x, type: histogram, value: '1', buckets: [2, 1]}]}", "metrics[0].buckets[1]: want numbers")
	f("{type: metrics, metrics: [{name: x, type: counter, labels: {__a: line}}]}", "is no name of a label")
	f("{type: route}", "default: is missing")
	f("{type: route, default: x}", `default: there is no sink "x"`)
	f("{type: route, default: all, rules: [{if: 'true'}]}", "rules[0].sinks: is empty")
}

// A secret of a stage is printed nowhere.
func TestTheHashKeyIsSecret(t *testing.T) {
	table, err := tableOf("- {type: redact, presets: [email], action: hash, key: hush-hush-hush-hush}", pipeline.NewMetrics())
	if err != nil {
		t.Fatal(err)
	}
	key := secret.New("hush-hush")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%q"} {
		if text := fmt.Sprintf(verb, key); strings.Contains(text, "hush") {
			t.Errorf("%s prints %s", verb, text)
		}
	}
	if table.Named("p") == nil {
		t.Error("no pipeline")
	}
}
