package pipeline_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"log_capturer/internal/pipeline"
)

// fuzzStage feeds a stage with any lines. Each comes out once, within the bounds
// of an event, and is not written to.
func fuzzStage(f *testing.F, stages string, check func(t *testing.T, line string, e *pipeline.Event), seeds ...string) {
	p := compiled(f, stages, pipeline.NewMetrics())
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		out := 0
		watch := &pipeline.Observer{Dropped: func(int, *pipeline.Event, string) { out++ }}
		run := p.Open(source, func(e *pipeline.Event) {
			out += e.Count
			checkBounds(t, line, e)
			if check != nil {
				check(t, line, e)
			}
		}, watch)
		bytes := []byte(line)
		run.Process(&pipeline.Event{Source: source, Line: bytes, Time: 1e18, Captured: 1e18})
		run.Close()
		if out != 1 || string(bytes) != line {
			t.Errorf("%q came out %d times, and is %q", line, out, bytes)
		}
	})
}

func failed(e *pipeline.Event) bool {
	_, ok := e.Get(pipeline.ErrorField)
	return ok
}

// FuzzJSON holds the parser against the standard library's: what one takes, the
// other does.
func FuzzJSON(f *testing.F) {
	fuzzStage(f, "- type: json\n  max_depth: 100\n", func(t *testing.T, line string, e *pipeline.Event) {
		if v, ok := e.Get(pipeline.ErrorField); ok && (strings.Contains(v.Text, "too_") || strings.Contains(line, pipeline.ErrorField)) {
			return
		}
		object := strings.HasPrefix(strings.TrimLeft(line, " \t\r\n"), "{")
		if valid := json.Valid([]byte(line)) && object; valid == failed(e) {
			t.Errorf("%q: valid is %v, attributes are %v", line, valid, e.Fields)
		}
		for _, field := range e.Fields {
			if field.Name != pipeline.ErrorField && !json.Valid(field.Value.AppendJSON(nil)) {
				t.Errorf("%q: %s is no JSON", line, field.Value.AppendJSON(nil))
			}
		}
	}, `{"a":1}`, `{"a":{"b":[1,{"c":null}]},"d":"\ud83d\ude00\n"}`, `{"a":-0.5e+10,"":true}`, `{`, `{"a":"\ud800\u0041"}`, "{\"\xff\":\"\xff\"}", `{"a":[]}  `, `{"a":}`)
}

func FuzzLogfmt(f *testing.F) {
	fuzzStage(f, "- type: logfmt\n", nil, `a=1 b="x \"y\"" c`, `a="`, `=`, `a= b`, "a=\xff", `a="\u00e9"`)
}

func FuzzSyslog(f *testing.F) {
	fuzzStage(f, "- type: syslog\n", nil, `<34>1 2026-02-28T22:14:15Z h a 1 - [x a="b"][y] m`, `<13>Mar  1 12:00:01 box tag[1]: m`, `<0>`, `<191>1 - - - - - -`, `<13>Feb 29 00:00:00 h t: m`)
}

func FuzzAccessLog(f *testing.F) {
	fuzzStage(f, "- type: access_log\n", nil, `1.1.1.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 2326 "-" "x"`, `a b c [d] "" 200 -`)
}

func FuzzKeyValue(f *testing.F) {
	fuzzStage(f, "- type: key_value\n  pairs: ', '\n  between: ': '\n", nil, `a: 1, b: "x, y", c`, `: , : `, `a: "`)
}

// FuzzCSV writes what was read again.
func FuzzCSV(f *testing.F) {
	fuzzStage(f, "- type: csv\n  columns: [a, b]\n", nil, `1,"x ""y"", z"`, `"`, `,`, `"a"b,c`)
}

func FuzzRegex(f *testing.F) {
	fuzzStage(f, "- type: regex\n  pattern: '(?P<a>\\d+)-(?P<b>.*)'\n", nil, `1-2`, "1-\xff")
}

func FuzzTime(f *testing.F) {
	fuzzStage(f, "- type: set\n  values: {t: line}\n- type: time\n  from: t\n  layouts: [rfc3339, rfc1123, ansic, unix, unix_ns, access_log, syslog, iso8601]\n",
		nil, "2026-01-01T00:00:00Z", "1e9", "-1.5", "9999999999999999999", "Feb 29 00:00:00", "9999-01-01T00:00:00Z", "0000-01-01T00:00:00Z")
}

func FuzzLevel(f *testing.F) {
	fuzzStage(f, "- type: level\n", nil, "ERROR x", "[warn]", "level=info", "E0102 x", "error:")
}

// FuzzRedact looks for the secrets of a preset again in what is left: there are
// none.
func FuzzRedact(f *testing.F) {
	const stages = "- type: redact\n  presets: [email, ipv4, card, ipv6, jwt, aws_key]\n  with: '#'\n"
	again := compiled(f, strings.Replace(stages, "with: '#'", "action: drop", 1), pipeline.NewMetrics())
	fuzzStage(f, stages, func(t *testing.T, line string, e *pipeline.Event) {
		found := false
		run := again.Open(source, func(*pipeline.Event) {}, &pipeline.Observer{Dropped: func(int, *pipeline.Event, string) { found = true }})
		run.Process(&pipeline.Event{Source: source, Line: slices.Clone(e.Line)})
		if found {
			t.Errorf("%q became %q, which has a secret", line, e.Line)
		}
	}, "a@example.com", "10.0.0.1", "4111 1111 1111 1111", "fe80::1", "1.1.1.1.1.1.1.1", "eyJhbGciOi.eyJhbGciOi.x", "AKIAIOSFODNN7EXAMPLE")
}

// FuzzMultiline takes a text line by line: every line is in what comes out.
func FuzzMultiline(f *testing.F) {
	p := compiled(f, "- type: multiline\n  preset: any\n  max_lines: 4\n  max_bytes: 1KiB\n", pipeline.NewMetrics())
	f.Add("a\n\tat b\n\nc")
	f.Fuzz(func(t *testing.T, text string) {
		var got []string
		run := p.Open(source, func(e *pipeline.Event) { got = append(got, string(e.Line)) }, nil)
		for line := range strings.SplitSeq(text, "\n") {
			run.Process(&pipeline.Event{Source: source, Line: []byte(line)})
		}
		run.Close()
		if joined := strings.Join(got, "\n"); joined != text {
			t.Errorf("%q became %q", text, joined)
		}
	})
}

// Lines that are joined by what ends a record are those that were written, with
// bounds and without an end.
func FuzzMultilineEnd(f *testing.F) {
	p := compiled(f, "- type: multiline\n  end: ';$'\n  max_lines: 4\n  max_bytes: 1KiB\n", pipeline.NewMetrics())
	f.Add("a\n b;\n\nc;")
	f.Fuzz(func(t *testing.T, text string) {
		var got []string
		run := p.Open(source, func(e *pipeline.Event) { got = append(got, string(e.Line)) }, nil)
		for line := range strings.SplitSeq(text, "\n") {
			run.Process(&pipeline.Event{Source: source, Line: []byte(line)})
		}
		run.Close()
		if joined := strings.Join(got, "\n"); joined != text {
			t.Errorf("%q became %q", text, joined)
		}
	})
}
