package pipeline_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"log_capturer/internal/pipeline"
	"log_capturer/internal/record"
)

// everyStage has a stage of each type that works on lines.
var everyStage = map[string]string{
	"json":       "- type: json\n",
	"logfmt":     "- type: logfmt\n",
	"regex":      "- type: regex\n  pattern: '^(?P<a>(a+)+)(?P<b>b|c)*$'\n",
	"syslog":     "- type: syslog\n",
	"access_log": "- type: access_log\n",
	"key_value":  "- type: key_value\n",
	"csv":        "- type: csv\n  columns: [a, b, c]\n",
	"level":      "- type: level\n",
	"filter":     "- type: filter\n  drop: line matches '(a+)+$b' || line contains 'drop me'\n",
	"redact": "- type: redact\n  presets: [email, ipv4, ipv6, card, jwt, bearer, aws_key, url_password]\n" +
		"  patterns: ['(x+x+)+y']\n",
	"template":  "- type: template\n  text: 'x {line} y'\n",
	"multiline": "- type: multiline\n  preset: any\n",
	"collapse":  "- type: collapse\n",
	"limit":     "- type: limit\n  bytes_per_second: 1MiB\n  key: line\n",
	"sample":    "- type: sample\n  one_in: 2\n  key: line\n",
	"set":       "- type: set\n  values: {label.a: line, b: line}\n",
	"metrics":   "- type: metrics\n  metrics: [{name: a_total, type: counter, labels: {line: line}}]\n",
	"time":      "- type: set\n  values: {t: line}\n- type: time\n  from: t\n  layouts: [rfc3339, unix, syslog]\n",
}

// hostileLines are lines that somebody might send to cost the agent more than
// they cost him: of 1 MiB with LOG_CAPTURER_LONG set, and shorter without.
func hostileLines() map[string][]byte {
	mib := 64 << 10
	if os.Getenv("LOG_CAPTURER_LONG") != "" {
		mib = 1 << 20
	}
	repeat := func(s string) []byte { return []byte(strings.Repeat(s, mib/len(s))) }
	lines := map[string][]byte{
		"deep objects":     repeat(`{"a":`),
		"deep lists":       append([]byte(`{"a":`), repeat("[")...),
		"many fields":      []byte("{" + strings.Repeat(`"a":1,`, 1000)),
		"invalid UTF-8":    repeat("\xff\xfe"),
		"NUL":              repeat("\x00"),
		"many pairs":       repeat("a=1 "),
		"many keys":        repeat("a"),
		"open quotes":      repeat(`a="`),
		"escapes":          append([]byte(`{"a":"`), repeat(`\u0041`)...),
		"half surrogates":  append(append([]byte(`{"a":"`), repeat(`\ud800`)...), `"}`...),
		"long name":        []byte(`{"` + strings.Repeat("n", mib) + `":1}`),
		"nested names":     []byte(strings.Repeat(`{"`+strings.Repeat("n", 300)+`":`, 15)),
		"long number":      []byte(`{"a":` + strings.Repeat("9", mib) + `}`),
		"structured data":  append([]byte("<34>1 - - - - - "), repeat(`[a b="]"`)...),
		"digits":           repeat("4111111111111111 "),
		"digits alone":     repeat("4"),
		"colons":           repeat("1:"),
		"points":           repeat("1."),
		"mails":            repeat("a@a.aa "),
		"at signs":         repeat("a@"),
		"urls":             repeat("a://b:c"),
		"tokens":           repeat("eyJhbGciOiJ."),
		"catastrophic":     append(repeat("a"), 'd'),
		"levels":           repeat("ERRORS "),
		"commas":           repeat(","),
		"csv quotes":       repeat(`""`),
		"bearers":          repeat("bearer "),
		"trailing bearers": append(repeat("Bearer "), "Bearer abcdefgh12345678"...),
	}
	for c := range "a\" =[{<\\:,.-" {
		one := "a\" =[{<\\:,.-"[c : c+1]
		lines["1 MiB of "+one] = repeat(one)
	}
	return lines
}

// TestHostileLines takes each line through each stage. None may take long, lose
// the line, write into it, or make more of the event than its bounds.
func TestHostileLines(t *testing.T) {
	// The bound is for machines that do many other things: a MiB takes less than
	// a second. What grows with the square of a line would take minutes.
	const bound = 20 * time.Second
	lines := hostileLines()
	for name, stages := range everyStage {
		t.Run(name, func(t *testing.T) {
			p := compiled(t, stages, pipeline.NewMetrics())
			for what, line := range lines {
				before := string(line)
				start := time.Now()
				in, out := 0, 0
				watch := &pipeline.Observer{Dropped: func(_ int, e *pipeline.Event, _ string) { out += e.Count }}
				run := p.Open(source, func(e *pipeline.Event) {
					out += e.Count
					checkBounds(t, what, e)
				}, watch)
				for _, text := range [][]byte{line, []byte("next"), line} {
					in++
					run.Process(&pipeline.Event{Source: source, Stream: record.Stdout, Line: text, Time: 1e18, Captured: 1e18})
				}
				run.Close()
				if in != out {
					t.Errorf("%s: %d of %d lines came out", what, out, in)
				}
				if string(line) != before {
					t.Errorf("%s: the line was written to", what)
				}
				if took := time.Since(start); took > bound {
					t.Errorf("%s: took %v", what, took)
				}
			}
		})
	}
}

func checkBounds(t *testing.T, what string, e *pipeline.Event) {
	t.Helper()
	if len(e.Fields) > pipeline.MaxFields || len(e.Labels) > pipeline.MaxLabels {
		t.Errorf("%s: %d attributes and %d labels", what, len(e.Fields), len(e.Labels))
	}
	for _, f := range e.Fields {
		if len(f.Name) > pipeline.MaxNameBytes || !utf8.ValidString(f.Name) || !utf8.ValidString(f.Value.Text) {
			t.Errorf("%s: the attribute %.60q of %d bytes is no valid one", what, f.Name, len(f.Name))
		}
	}
}

// A parser that fails leaves nothing of what it has found.
func TestFailedParsersLeaveNothing(t *testing.T) {
	f := func(stages, line string) {
		t.Helper()
		var got string
		run := compiled(t, stages, pipeline.NewMetrics()).Open(source, func(e *pipeline.Event) {
			for _, field := range e.Fields {
				got += field.Name + " "
			}
		}, nil)
		run.Process(&pipeline.Event{Source: source, Line: []byte(line)})
		if got != pipeline.ErrorField+" " {
			t.Errorf("%s: %q has left %s", stages, line, got)
		}
	}
	f("- type: json", `{"a":1,"b":`)
	f("- type: logfmt", `a=1 b="`)
	f("- type: syslog", `<34>1 2026-02-28T22:14:15Z h a 1 - [bad`)
	f("- type: csv\n  columns: [a, b]", `1`)
	f("- type: access_log", `1.1.1.1 - - [x] "GET / HTTP/1.1" 1`)
	many := "{"
	for i := range pipeline.MaxFields + 1 {
		many += fmt.Sprintf(`"a%d":1,`, i)
	}
	f("- type: json", strings.TrimSuffix(many, ",")+"}")
}
