package localfile

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"log_capturer/internal/record"
)

// jsonLine is a line of FormatJSON.
type jsonLine struct {
	Time           time.Time `json:"time"`
	Stream         string    `json:"stream"`
	Line           *string   `json:"line"`
	LineBase64     []byte    `json:"line_base64"`
	Cut            bool      `json:"cut"`
	Continued      bool      `json:"continued"`
	Unterminated   bool      `json:"unterminated"`
	ContainerID    string    `json:"container_id"`
	ContainerName  string    `json:"container_name"`
	Image          string    `json:"image"`
	ComposeProject string    `json:"compose_project"`
	ComposeService string    `json:"compose_service"`
	Host           string    `json:"host"`
}

func TestJSONLine(t *testing.T) {
	src := container("web")
	at := time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC).UnixNano()
	const end = `,"container_id":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",` +
		`"container_name":"web","image":"example/app:1","compose_project":"shop","compose_service":"front","host":"node-1"}` + "\n"
	f := func(r record.Record, line, want string) {
		t.Helper()
		e := encoder{format: FormatJSON}
		if got := string(e.append(nil, &r, []byte(line), nil, sourceFields(src))); got != want+end {
			t.Errorf("got  %swant %s", got, want+end)
		}
	}
	f(record.Record{Time: at}, "hello", `{"time":"2026-02-03T04:05:06.000000007Z","stream":"stdout","line":"hello"`)
	f(record.Record{Time: at, Stream: record.Stderr}, "", `{"time":"2026-02-03T04:05:06.000000007Z","stream":"stderr","line":""`)
	f(record.Record{Flags: record.Cut | record.Continued | record.Unterminated}, "x",
		`{"time":"1970-01-01T00:00:00.000000000Z","stream":"stdout","line":"x","cut":true,"continued":true,"unterminated":true`)
	f(record.Record{Time: -1}, "\"\\\n\r\t\x00\x1b[31m\x7f", `{"time":"1969-12-31T23:59:59.999999999Z","stream":"stdout",`+
		`"line":"\"\\\n\r\t\u0000\u001b[31m`+"\x7f\"")
	f(record.Record{}, "żółw 🐢", `{"time":"1970-01-01T00:00:00.000000000Z","stream":"stdout","line":"żółw 🐢"`)
	f(record.Record{}, "a\xffb", `{"time":"1970-01-01T00:00:00.000000000Z","stream":"stdout","line_base64":"Yf9i"`)
}

func TestJSONLineOfFile(t *testing.T) {
	got := string(sourceFields(&record.Source{FilePath: "/var/log/a.log", Host: "node-1"}))
	if want := `,"file_path":"/var/log/a.log","host":"node-1"}` + "\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	got = string(sourceFields(&record.Source{
		FilePath: "/p/0.log", Namespace: "shop", Pod: "web-1", PodUID: "u", ContainerName: "web", Host: "node-1",
		Labels: map[string]string{"team": `r"d`, "app": "x"},
	}))
	want := `,"file_path":"/p/0.log","namespace":"shop","pod":"web-1","pod_uid":"u","container_name":"web",` +
		`"labels":{"app":"x","team":"r\"d"},"host":"node-1"}` + "\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestJSONLineWithoutCompose(t *testing.T) {
	got := string(sourceFields(&record.Source{ContainerName: "a\"b\xff"}))
	want := `,"container_id":"","container_name":"a\"b` + "\uFFFD" + `","image":"","host":""}` + "\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTextLineIsVerbatim(t *testing.T) {
	e := encoder{format: FormatText}
	for _, line := range []string{"", "plain", "a\rb\x00c\xff", `"q"`} {
		if got := string(e.append(nil, &record.Record{}, []byte(line), nil, nil)); got != line+"\n" {
			t.Errorf("got %q, want %q", got, line+"\n")
		}
	}
}

func FuzzJSONLine(f *testing.F) {
	f.Add([]byte("plain"), int64(0), byte(0))
	f.Add([]byte("12345678\"1234567\\\x1f \xff"), int64(1e18+1), byte(7))
	f.Add([]byte("\x80"), int64(-1), byte(1))
	f.Add([]byte("\u2028 é <&>"), int64(-1e9), byte(2))
	src := container("web")
	fields := sourceFields(src)
	f.Fuzz(func(t *testing.T, line []byte, at int64, flags byte) {
		r := record.Record{Time: at, Stream: record.Stream(flags >> 3 & 1), Flags: record.Flags(flags & 7)}
		e := encoder{format: FormatJSON}
		encoded := e.append([]byte("kept"), &r, line, nil, fields)
		rest, ok := bytes.CutPrefix(encoded, []byte("kept"))
		if !ok || bytes.IndexByte(rest, '\n') != len(rest)-1 {
			t.Fatalf("not one line: %q", encoded)
		}
		var got jsonLine
		if err := json.Unmarshal(rest, &got); err != nil {
			t.Fatalf("%q: %v", rest, err)
		}
		switch {
		case (got.Line != nil) != utf8.Valid(line):
			t.Fatalf("line %q is given as %s", line, rest)
		case got.Line != nil && *got.Line != string(line), got.Line == nil && !bytes.Equal(got.LineBase64, line):
			t.Fatalf("line %q came back from %s", line, rest)
		case got.Time.UnixNano() != at, got.Stream != r.Stream.String(),
			got.Cut != (r.Flags&record.Cut != 0), got.Continued != (r.Flags&record.Continued != 0),
			got.Unterminated != (r.Flags&record.Unterminated != 0),
			got.ContainerID != src.ContainerID, got.Host != src.Host:
			t.Fatalf("%+v came back from %s", got, rest)
		}
	})
}

func TestEncodingDoesNotAllocate(t *testing.T) {
	src := container("web")
	fields := sourceFields(src)
	for name, line := range map[string][]byte{
		"plain":   []byte(strings.Repeat("the quick brown fox ", 10)),
		"escaped": []byte(strings.Repeat("\"\\\x00\n", 10)),
		"binary":  []byte(strings.Repeat("\xff\xfe", 10)),
	} {
		for _, format := range []Format{FormatJSON, FormatText} {
			e := encoder{format: format}
			buf := make([]byte, 0, 4096)
			r := record.Record{}
			n := testing.AllocsPerRun(100, func() {
				r.Time += 1e8
				r.Flags ^= record.Cut
				buf = e.append(buf[:0], &r, line, nil, fields)
			})
			if n != 0 {
				t.Errorf("%s as %s: %v allocations a record, want none", name, format, n)
			}
		}
	}
}

func FuzzEntry(f *testing.F) {
	e := activeEntry{length: 7, identity: identity{1, 2, 3}, first: 4, until: 5, closing: "/x"}
	f.Add(e.encode())
	f.Add([]byte{})
	f.Add([]byte{entryVersion})
	f.Add([]byte{9, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := decodeActive(b); err == nil && !bytes.Equal(e.encode(), b) {
			t.Fatalf("%x came back as %x", b, e.encode())
		}
		if e, err := decodeClosed(b); err == nil && !bytes.Equal(e.encode(), b) {
			t.Fatalf("%x came back as %x", b, e.encode())
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	fields := sourceFields(container("web"))
	line := []byte(strings.Repeat(`level=info msg="request served" path=/a/b `, 5))
	for _, format := range []Format{FormatJSON, FormatText} {
		b.Run(string(format), func(b *testing.B) {
			e := encoder{format: format}
			buf := make([]byte, 0, 4096)
			r := record.Record{Time: 1.7e18}
			b.ReportAllocs()
			b.SetBytes(int64(len(line)))
			for b.Loop() {
				r.Time += 1e5
				buf = e.append(buf[:0], &r, line, nil, fields)
			}
		})
	}
}
