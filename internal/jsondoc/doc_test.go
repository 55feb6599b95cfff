package jsondoc_test

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"log_capturer/internal/jsondoc"
	"log_capturer/internal/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var web = &record.Source{Key: "container/a", ContainerName: "web", Host: "node\xff\"1", Image: "example/web:1"}

// document returns the document of one record.
func document(t testing.TB, o jsondoc.Options, r record.Record, line string) string {
	t.Helper()
	s, err := jsondoc.NewShape(o)
	if err != nil {
		t.Fatal(err)
	}
	b := record.NewBatch(web, 100)
	defer b.Release()
	b.Append(r, []byte(line))
	return string(s.Append(nil, &jsondoc.Clock{}, b, &b.Records[0], []byte("the-id")))
}

func TestDocument(t *testing.T) {
	f := func(o jsondoc.Options, r record.Record, line, want string) {
		t.Helper()
		if got := document(t, o, r, line); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	plain := jsondoc.Options{Line: "message"}
	f(plain, record.Record{}, "", `{"message":""}`)
	f(plain, record.Record{}, "\"\\\n\r\t\x00\x1b é\u2028", `{"message":"\"\\\n\r\t\u0000\u001b é`+"\u2028"+`"}`)
	f(plain, record.Record{}, "a\xff\xfeb\xc3", `{"message":"a`+"\uFFFD\uFFFDb\uFFFD"+`","message_base64":"Yf/+YsM="}`)
	f(plain, record.Record{Flags: record.Cut | record.Continued | record.Unterminated}, "x",
		`{"message":"x","cut":true,"continued":true,"unterminated":true}`)
	f(jsondoc.Options{Line: "m", Time: "@timestamp", ID: "id", Fields: map[string]string{
		"stream": "{stream}", "host.name": "{host}", "none": "{compose_project}", "a": "x-{image}",
	}}, record.Record{Time: 1_000_000_007, Stream: record.Stderr}, "hi",
		`{"@timestamp":"1970-01-01T00:00:01.000000007Z","id":"the-id","m":"hi","a":"x-example/web:1","host.name":"node`+"\uFFFD"+`\"1","stream":"stderr"}`)
	f(jsondoc.Options{Line: "m", Time: "t"}, record.Record{Time: -1}, "hi", `{"t":"1969-12-31T23:59:59.999999999Z","m":"hi"}`)
}

func TestEpoch(t *testing.T) {
	f := func(ns int64, want string) {
		t.Helper()
		if got := string(jsondoc.AppendEpoch(nil, ns)); got != want {
			t.Errorf("%d: %s, want %s", ns, got, want)
		}
	}
	f(0, "0.000000000")
	f(1_700_000_000_123_456_789, "1700000000.123456789")
	f(-1, "-0.000000001")
	f(-1_500_000_000, "-1.500000000")
	f(math.MinInt64, "-9223372036.854775808")
}

func TestNewShapeRefuses(t *testing.T) {
	f := func(o jsondoc.Options, want string) {
		t.Helper()
		if _, err := jsondoc.NewShape(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q in it", o, err, want)
		}
	}
	f(jsondoc.Options{}, "has no name")
	f(jsondoc.Options{Line: "cut"}, `"cut"`)
	f(jsondoc.Options{Line: "m", Time: "m"}, `"m"`)
	f(jsondoc.Options{Line: "m", ID: "m_base64"}, `"m_base64"`)
	f(jsondoc.Options{Line: "m", Fields: map[string]string{"": "x"}}, "no name for a field")
	f(jsondoc.Options{Line: "m", Fields: map[string]string{"\xff": "x"}}, "no name for a field")
	f(jsondoc.Options{Line: "m", Fields: map[string]string{"unterminated": "x"}}, `"unterminated"`)
	f(jsondoc.Options{Line: "m", Fields: map[string]string{"a": "{nmae}"}}, "field a: ")
	f(jsondoc.Options{Line: "m", Fields: map[string]string{"a": "{date}"}}, "depends on the time")
}

// Whatever a record holds, its document is one line of JSON that gives it back.
func FuzzDocument(f *testing.F) {
	f.Add([]byte("plain"), int64(0), byte(0))
	f.Add([]byte("12345678\"1234567\\\x1f \xff"), int64(1e18+1), byte(7))
	f.Add([]byte("\x80 \xed\xa0\x80"), int64(-1), byte(1))
	f.Add([]byte("\u2028 é <&> \uFFFD"), int64(-1e9), byte(2))
	f.Fuzz(func(t *testing.T, line []byte, at int64, flags byte) {
		r := record.Record{Time: at, Flags: record.Flags(flags & 7), Stream: record.Stream(flags >> 3 & 1)}
		text := document(t, jsondoc.Options{Line: "line", Time: "time", Fields: jsondoc.DefaultFields()}, r, string(line))
		if strings.ContainsAny(text, "\n\r") || !utf8.ValidString(text) {
			t.Fatalf("not one line of UTF-8: %q", text)
		}
		var got struct {
			Time                         time.Time
			Line                         string
			LineBase64                   []byte `json:"line_base64"`
			Cut, Continued, Unterminated bool
			Stream                       string
			ContainerName                string `json:"container_name"`
		}
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		exact := []byte(got.Line)
		if !utf8.Valid(line) {
			exact = got.LineBase64
			if want := string([]rune(string(line))); got.Line != want {
				t.Errorf("text %q, want %q", got.Line, want)
			}
		}
		if !bytes.Equal(exact, line) || got.Time.UnixNano() != at || got.Stream != r.Stream.String() || got.ContainerName != "web" ||
			got.Cut != (r.Flags&record.Cut != 0) || got.Continued != (r.Flags&record.Continued != 0) ||
			got.Unterminated != (r.Flags&record.Unterminated != 0) {
			t.Errorf("%q came back as %+v from %s", line, got, text)
		}
	})
}

func TestWritingAllocatesNothing(t *testing.T) {
	s, err := jsondoc.NewShape(jsondoc.Options{Line: "line", Time: "time", ID: "id", Fields: jsondoc.DefaultFields()})
	if err != nil {
		t.Fatal(err)
	}
	b := record.NewBatch(web, 100)
	for i, line := range []string{"plain text of a line", "with \"quotes\"", "bad \xff bytes", ""} {
		b.Append(record.Record{Time: int64(i) * 1e9}, []byte(line))
	}
	var clock jsondoc.Clock
	buffer := make([]byte, 0, 10000)
	n := testing.AllocsPerRun(100, func() {
		out := buffer
		for i := range b.Records {
			out = s.Append(out, &clock, b, &b.Records[i], []byte("id"))
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
