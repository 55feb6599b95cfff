package loki

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/klauspost/compress/snappy"

	"log_capturer/internal/delivery"
	"log_capturer/internal/record"
	"log_capturer/internal/sinks/loki/lokitest"
)

// Every byte of a push, put down by hand from Loki's push.proto and the rules
// of the protobuf encoding.
func TestProtobufGolden(t *testing.T) {
	s := newSink(t, Options{
		StreamsPerPush:     1,
		Labels:             map[string]string{"app": "{container_name}", "b": `q"`, "empty": "{compose_project}"},
		StructuredMetadata: map[string]string{"img": "{image}"},
	})
	src := &record.Source{ContainerName: "web", Image: "i"}
	marked := at(2_000_000_001, "")
	marked.Ordinal = 3
	marked.Flags = record.Cut | record.Unterminated
	marked.Stream = record.Stderr
	req := requestOf(batchOf(src, at(1_000_000_007, "hi\xff"), marked))
	if err := s.encode(req); err != nil {
		t.Fatal(err)
	}
	got, err := snappy.Decode(nil, req.Body)
	if err != nil {
		t.Fatal(err)
	}
	field := func(tag string, content ...string) string {
		all := strings.Join(content, "")
		return tag + fmt.Sprintf("%02x", len(all)/2) + all
	}
	text := func(s string) string { return hex.EncodeToString([]byte(s)) }
	pair := func(name, value string) string {
		return field("1a", field("0a", text(name)), field("12", text(value)))
	}
	want := field("12", // StreamAdapter.entries
		field("0a", "08"+"01", "10"+"07"), // 1 s and 7 ns
		field("12", text("hi\xff")),
		pair("img", "i"), pair("stream", "stdout"))
	want += field("12",
		field("0a", "08"+"02", "10"+"03"), // moved on by 2 ns
		// no line
		pair("img", "i"), pair("stream", "stderr"),
		pair("ordinal", "3"), pair("cut", "true"), pair("unterminated", "true"))
	labels := field("0a", text(`{app="web", b="q\""}`))
	size := (len(labels) + len(want)) / 2
	if size < 128 || size >= 256 {
		t.Fatalf("the stream has %d bytes; the size below is written for 128 to 255", size)
	}
	want = "0a" + fmt.Sprintf("%02x01", size&0x7f|0x80) + labels + want
	if hex.EncodeToString(got) != want {
		t.Errorf("got  %x\nwant %s", got, want)
	}
}

func TestJSONGolden(t *testing.T) {
	s := newSink(t, Options{
		Encoding:           JSON,
		Labels:             map[string]string{"app": "{container_name}", "stream": "{stream}"},
		StructuredMetadata: map[string]string{"img": "{image}"},
	})
	src := &record.Source{ContainerName: `w"b`, Image: ""}
	marked := at(2_000_000_001, "a\xffb\xc3")
	marked.Ordinal, marked.Flags, marked.Stream = 2, record.Continued, record.Stderr
	req := requestOf(batchOf(src, at(1, "\"\\\n\r\t\x00\x1b é\u2028"), marked, at(3, "")))
	if err := s.encode(req); err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(req.Body))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"streams":[` +
		`{"stream":{"app":"w\"b","stream":"stdout"},"values":[` +
		`["1","\"\\\n\r\t\u0000\u001b é` + "\u2028" + `"],["3",""]]},` +
		`{"stream":{"app":"w\"b","stream":"stderr"},"values":[` +
		`["2000000002","a` + "\uFFFD" + `b` + "\uFFFD" + `",{"ordinal":"2","continued":"true","invalid_utf8":"replaced"}]]}]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// What a strict endpoint reads is what was sent, in both encodings and for both
// ways of grouping.
func TestRoundTrip(t *testing.T) {
	db := &record.Source{ContainerName: "db", Image: "pg\xff"}
	marked := at(-5, "before 1970")
	marked.Ordinal, marked.Flags = 4_000_000_000, record.Cut|record.Continued|record.Unterminated
	errLine := func(ns int64, line string) rec {
		r := at(ns, line)
		r.Stream = record.Stderr
		return r
	}
	batches := func() []*record.Batch {
		return []*record.Batch{
			batchOf(web, at(1700000000123456789, "first"), errLine(1700000000123456790, "oops"), at(1700000001000000000, "")),
			batchOf(db, at(1, "other source"), marked),
			batchOf(web, at(999_999_999, strings.Repeat("long ", 100_000)), at(-1_500_000_000, "a\x00b\x1b[31m")),
		}
	}
	f := func(o Options, want map[string][]string) {
		t.Helper()
		loki := startLoki(t, lokitest.Options{Keep: true})
		o.URL = loki.URL()
		s := newSink(t, o)
		if err := s.Send(t.Context(), requestOf(batches()...)); err != nil {
			t.Fatal(err)
		}
		got := map[string][]string{}
		for _, e := range loki.Entries() {
			line := e.Line
			if len(line) > 20 {
				line = fmt.Sprintf("%.5s*%d", line, len(line))
			}
			got[e.Labels] = append(got[e.Labels], fmt.Sprintf("%d %q %v", e.Time, line, e.Metadata))
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v\ngot  %q\nwant %q", o, got, want)
		}
		if n := loki.Stats(); n.Requests != 1 || n.Entries != 7 {
			t.Errorf("stats %+v", n)
		}
	}
	byStream := map[string][]string{
		`{container="web", stream="stdout"}`: {
			`1700000000123456789 "first" [{image example/web:1}]`,
			`1700000001000000000 "" [{image example/web:1}]`,
			`999999999 "long *500000" [{image example/web:1}]`,
			`-1500000000 "a\x00b\x1b[31m" [{image example/web:1}]`,
		},
		`{container="web", stream="stderr"}`: {
			`1700000000123456790 "oops" [{image example/web:1}]`,
		},
		`{container="db", stream="stdout"}`: {
			`1 "other source" [{image pg` + "\uFFFD" + `}]`,
			`3999999994 "before 1970" [{image pg` + "\uFFFD" + `} {ordinal 4000000000} {cut true} {continued true} {unterminated true}]`,
		},
	}
	meta := map[string]string{"image": "{image}"}
	f(Options{StructuredMetadata: meta}, byStream)
	f(Options{StructuredMetadata: meta, Encoding: JSON}, byStream)

	// Without a label for it, both streams of a container are one Loki stream,
	// in the order in which they were read.
	byName := map[string][]string{
		`{container="web"}`: {
			`1700000000123456789 "first" [{stream stdout}]`,
			`1700000000123456790 "oops" [{stream stderr}]`,
			`1700000001000000000 "" [{stream stdout}]`,
			`999999999 "long *500000" [{stream stdout}]`,
			`-1500000000 "a\x00b\x1b[31m" [{stream stdout}]`,
		},
		`{container="db"}`: {
			`1 "other source" [{stream stdout}]`,
			`3999999994 "before 1970" [{stream stdout} {ordinal 4000000000} {cut true} {continued true} {unterminated true}]`,
		},
	}
	named := map[string]string{"container": "{container_name}"}
	f(Options{Labels: named}, byName)
	f(Options{Labels: named, Encoding: JSON}, byName)

	for labels, entries := range byName {
		entries = slices.Clone(entries)
		for i, e := range entries {
			entries[i] = e[:strings.LastIndex(e, "[{")] + "[]"
		}
		byName[labels] = entries
	}
	f(Options{Labels: named, OmitMetadata: true}, byName)
	f(Options{Labels: named, OmitMetadata: true, Encoding: JSON}, byName)
}

func TestInvalidUTF8(t *testing.T) {
	f := func(encoding Encoding, line, want string, marked bool) {
		t.Helper()
		loki := startLoki(t, lokitest.Options{Keep: true})
		s := newSink(t, Options{URL: loki.URL(), StreamsPerPush: 1, Encoding: encoding})
		if err := s.Send(t.Context(), requestOf(batchOf(web, at(1, line)))); err != nil {
			t.Fatal(err)
		}
		e := loki.Entries()[0]
		if e.Line != want || slices.Contains(e.Metadata, lokitest.Pair{Name: "invalid_utf8", Value: "replaced"}) != marked {
			t.Errorf("%s: %q arrived as %q with %v", encoding, line, e.Line, e.Metadata)
		}
	}
	const bad = "\xff\xfe é \xed\xa0\x80 \xc3"
	f(Protobuf, bad, bad, false)
	f(JSON, bad, "\uFFFD\uFFFD é \uFFFD\uFFFD\uFFFD \uFFFD", true)
	f(JSON, "\uFFFD is a character like others", "\uFFFD is a character like others", false)
}

// Labels of which nothing is left, and values that Loki would refuse.
func TestLabelsAreAlwaysAcceptable(t *testing.T) {
	f := func(labels map[string]string, src *record.Source, want string) {
		t.Helper()
		for _, encoding := range []Encoding{Protobuf, JSON} {
			loki := startLoki(t, lokitest.Options{Keep: true})
			s := newSink(t, Options{URL: loki.URL(), StreamsPerPush: 1, Encoding: encoding, Labels: labels})
			if err := s.Send(t.Context(), requestOf(batchOf(src, at(1, "x")))); err != nil {
				t.Fatal(err)
			}
			if got := loki.Entries()[0].Labels; got != want {
				t.Errorf("%s: labels %s, want %s", encoding, got, want)
			}
		}
	}
	f(map[string]string{"p": "{compose_project}"}, &record.Source{}, `{job="log_capturer"}`)
	f(map[string]string{"p": "{compose_project}", "a": "b"}, &record.Source{}, `{a="b"}`)
	f(map[string]string{"p": "{image}"}, &record.Source{Image: "a\xffb\n\"é\x7f"}, `{p="a`+"\uFFFD"+`b\n\"é\x7f"}`)
	f(map[string]string{"p": "{image}"}, &record.Source{Image: "x" + strings.Repeat("é", 2000)},
		`{p="x`+strings.Repeat("é", 1023)+`"}`)
}

// A run of records of one time goes out with times and metadata of its own, so
// that a Loki that compares time and line keeps them all, and drops them all
// when they come again.
func TestEqualLinesOfOneNanosecond(t *testing.T) {
	loki := startLoki(t, lokitest.Options{Keep: true, Deduplicate: true})
	s := newSink(t, Options{URL: loki.URL(), StreamsPerPush: 1})
	var recs []rec
	for i := range 5 {
		r := at(1000, "same")
		r.Ordinal = uint32(i + 1)
		recs = append(recs, r)
	}
	b := batchOf(web, recs...)
	for range 2 {
		// Another split of the same records makes no difference.
		for _, part := range []delivery.Part{{From: 0, To: 2}, {From: 2, To: 5}, {From: 0, To: 5}} {
			part.Batch, part.Streams = b, record.AllStreams
			if err := s.Send(t.Context(), &delivery.Request{Parts: []delivery.Part{part}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	var got []string
	for _, e := range loki.Entries() {
		got = append(got, fmt.Sprintf("%d %v", e.Time, e.Metadata))
	}
	want := []string{"1000 []", "1001 [{ordinal 2}]", "1002 [{ordinal 3}]", "1003 [{ordinal 4}]", "1004 [{ordinal 5}]"}
	if !slices.Equal(got, want) {
		t.Errorf("kept %q, want %q", got, want)
	}
}

// Only the records of the part's range and streams are sent.
func TestPartsAreRespected(t *testing.T) {
	errLine := at(3, "e3")
	errLine.Stream = record.Stderr
	b := batchOf(web, at(1, "1"), at(2, "2"), errLine, at(4, "4"), at(5, "5"))
	f := func(from, to int, streams record.StreamSet, want ...string) {
		t.Helper()
		for _, encoding := range []Encoding{Protobuf, JSON} {
			loki := startLoki(t, lokitest.Options{Keep: true})
			s := newSink(t, Options{URL: loki.URL(), StreamsPerPush: 1, Encoding: encoding,
				Labels: map[string]string{"container": "{container_name}"}})
			req := &delivery.Request{Parts: []delivery.Part{{Batch: b, From: from, To: to, Streams: streams}}}
			if err := s.Send(t.Context(), req); err != nil {
				t.Fatal(err)
			}
			if got := linesOf(loki.Entries()); !slices.Equal(got, want) {
				t.Errorf("%s: [%d,%d) of %b: %q, want %q", encoding, from, to, streams, got, want)
			}
		}
	}
	f(0, 5, record.AllStreams, "1", "2", "e3", "4", "5")
	f(1, 4, record.Only(record.Stdout), "2", "4")
	f(1, 4, record.Only(record.Stderr), "e3")
	f(3, 3, record.AllStreams)
	f(0, 2, record.Only(record.Stderr)) // nothing to send, and nothing is
}

// A stream of a batch that has no record in the part makes no empty Loki
// stream.
func TestNoEmptyStreams(t *testing.T) {
	errLine := at(3, "e3")
	errLine.Stream = record.Stderr
	b := batchOf(web, at(1, "1"), errLine)
	for _, encoding := range []Encoding{Protobuf, JSON} {
		loki := startLoki(t, lokitest.Options{Keep: true})
		s := newSink(t, Options{URL: loki.URL(), Encoding: encoding})
		req := &delivery.Request{Parts: []delivery.Part{{Batch: b, From: 0, To: 1, Streams: record.AllStreams}}}
		if err := s.Send(t.Context(), req); err != nil {
			t.Fatal(err)
		}
		if got := linesOf(loki.Entries()); !slices.Equal(got, []string{"1"}) {
			t.Errorf("%s: %q", encoding, got)
		}
	}
}

// requestOfLines returns a request of n lines like a web server's.
func requestOfLines(n int) *delivery.Request {
	b := record.NewBatch(web, n*200)
	line := []byte(`10.0.0.1 - - [02/Jan/2026:03:04:05 +0000] "GET /index.html HTTP/1.1" 200 5316 "-" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0"`)
	for i := range n {
		b.Append(record.Record{Time: 1767323045000000000 + int64(i)*1000, Ordinal: uint32(1 + i%10/9)}, line)
	}
	return requestOf(b)
}

func TestEncodingAllocatesNothing(t *testing.T) {
	f := func(encoding Encoding) {
		t.Helper()
		s := newSink(t, Options{Encoding: encoding, StreamsPerPush: 1, StructuredMetadata: map[string]string{"image": "{image}"}})
		req := requestOfLines(1000)
		allocs := testing.AllocsPerRun(100, func() {
			if err := s.encode(req); err != nil {
				t.Fatal(err)
			}
		})
		if allocs > pooledAllocs {
			t.Errorf("%s: %v allocations for a push of 1000 records, want at most %d", encoding, allocs, pooledAllocs)
		}
	}
	f(Protobuf)
	f(JSON)
}

func BenchmarkEncode(b *testing.B) {
	for _, encoding := range []Encoding{Protobuf, JSON} {
		b.Run(string(encoding), func(b *testing.B) {
			s := newSink(b, Options{Encoding: encoding, StreamsPerPush: 1, StructuredMetadata: map[string]string{"image": "{image}"}})
			const n = 5000
			req := requestOfLines(n)
			b.SetBytes(int64(req.Parts[0].Batch.LineBytes()))
			b.ReportAllocs()
			for b.Loop() {
				if err := s.encode(req); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "lines/s")
		})
	}
}

// Whatever the record, a strict decoder reads it back.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("line"), "web", int64(1767323045000000000), uint32(1), uint8(0), false)
	f.Add([]byte(""), "", int64(-1), uint32(0), uint8(7), true)
	f.Add([]byte("\xff\x00\"\\\u2028"), "a\"\xff\n", int64(999_999_999), uint32(1<<32-1), uint8(3), false)
	f.Fuzz(func(t *testing.T, line []byte, name string, ns int64, ordinal uint32, flags uint8, stderr bool) {
		// Time zero stands for no time in the protocol, and Loki has none
		// beyond what nanoseconds count.
		r := record.Record{Time: ns, Ordinal: ordinal, Flags: record.Flags(flags & 7)}
		if stderr {
			r.Stream = record.Stderr
		}
		if sentTime(&r) == 0 || ns > 1<<62 || ns < -1<<62 {
			return
		}
		for _, encoding := range []Encoding{Protobuf, JSON} {
			s := newSink(t, Options{Encoding: encoding, StructuredMetadata: map[string]string{"image": "{image}"}})
			req := requestOf(batchOf(&record.Source{ContainerName: name, Image: name}, rec{r, string(line)}))
			if err := s.encode(req); err != nil {
				t.Fatal(err)
			}
			entries, err := lokitest.Decode(s.headerOf(""), req.Body)
			if err != nil || len(entries) != 1 {
				t.Fatalf("%s: %d entries, %v", encoding, len(entries), err)
			}
			e := entries[0]
			want := string(line)
			if encoding == JSON && !utf8.Valid(line) {
				want = ""
				for _, c := range string(line) { // an invalid byte yields U+FFFD
					want += string(c)
				}
			}
			if e.Line != want || e.Time != sentTime(&r) {
				t.Errorf("%s: %q at %d came back as %q at %d", encoding, line, sentTime(&r), e.Line, e.Time)
			}
			marks := 0
			for i := range 3 {
				marks += int(flags>>i) & 1
			}
			if ordinal > 1 {
				marks++
			}
			if name != "" {
				marks++
			}
			if encoding == JSON && !utf8.Valid(line) {
				marks++
			}
			if len(e.Metadata) != marks {
				t.Errorf("%s: metadata %v, want %d items", encoding, e.Metadata, marks)
			}
		}
	})
}
