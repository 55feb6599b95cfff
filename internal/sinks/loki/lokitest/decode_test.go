package lokitest

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/klauspost/compress/snappy"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func protobufHeader() http.Header {
	return http.Header{"Content-Type": {"application/x-protobuf"}}
}

func jsonHeader() http.Header { return http.Header{"Content-Type": {"application/json"}} }

// field builds a field of bytes.
func field(number byte, content ...string) string {
	all := strings.Join(content, "")
	if len(all) > 127 {
		panic("field is for sizes of one byte")
	}
	return string([]byte{number<<3 | 2, byte(len(all))}) + all
}

// The parts of a good push.
var (
	labels = field(1, `{a="b"}`)
	time1  = field(1, "\x08\x01\x10\x02") // 1.000000002 s
	line   = field(2, "hello")
	meta   = field(3, field(1, "k"), field(2, "v"))
)

func TestDecodeProtobuf(t *testing.T) {
	f := func(push string, want ...Entry) {
		t.Helper()
		got, err := Decode(protobufHeader(), snappy.Encode(nil, []byte(push)))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v, want %+v", push, got, err, want)
		}
	}
	ab := `{a="b"}`
	f(field(1, labels, field(2, time1, line)), Entry{Labels: ab, Time: 1_000_000_002, Line: "hello"})
	f(field(1, labels, field(2, time1)), Entry{Labels: ab, Time: 1_000_000_002})
	f(field(1, labels, field(2, time1, line, meta, field(3, field(1, "l"), field(2, "w")))),
		Entry{Labels: ab, Time: 1_000_000_002, Line: "hello", Metadata: []Pair{{"k", "v"}, {"l", "w"}}})
	f(field(1, labels, field(2, time1, meta), field(2, time1, line), field(2, time1, meta)),
		Entry{Labels: ab, Time: 1_000_000_002, Metadata: []Pair{{"k", "v"}}},
		Entry{Labels: ab, Time: 1_000_000_002, Line: "hello"},
		Entry{Labels: ab, Time: 1_000_000_002, Metadata: []Pair{{"k", "v"}}})
	f(field(1, labels, field(2, time1))+field(1, field(1, `{a="c"}`), field(2, time1)),
		Entry{Labels: ab, Time: 1_000_000_002}, Entry{Labels: `{a="c"}`, Time: 1_000_000_002})
	f(field(1, labels, field(2, field(1, "\x10\x07"))), Entry{Labels: ab, Time: 7})
	f(field(1, labels, field(2, field(1, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x10\x01"))), Entry{Labels: ab, Time: -999_999_999})
}

func TestDecodeProtobufRefuses(t *testing.T) {
	f := func(push, want string) {
		t.Helper()
		entries, err := Decode(protobufHeader(), snappy.Encode(nil, []byte(push)))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v, want %q", push, entries, err, want)
		}
	}
	entry := field(2, time1, line)
	f("", "no streams")
	f(field(1), "has no labels")
	f(field(1, labels), "has no entries")
	f(field(1, entry), "not in its place")
	f(field(1, labels, labels, entry), "not in its place")
	f(field(1, entry, labels), "not in its place")
	f(field(1, labels, entry, field(3, "x")), "field 3 is unknown")
	f(field(2, "x"), "field 2 is unknown")
	f(field(1, labels, entry)+field(1, labels, entry), "stands twice in one push")
	f(field(1, labels, field(2)), "has no time")
	f(field(1, labels, field(2, line)), "has no time")
	f(field(1, labels, field(2, field(1), line)), "has no time")
	f(field(1, labels, field(2, line, time1)), "not in its place")
	f(field(1, labels, field(2, time1, line, line)), "is repeated")
	f(field(1, labels, field(2, time1, meta, line)), "not in its place")
	f(field(1, labels, field(2, time1, field(2))), "empty line is not written")
	f(field(1, labels, field(2, time1, field(4, "x"))), "field 4 is unknown")
	f(field(1, labels, field(2, field(1, "\x08\x00"))), "zero is not written")
	f(field(1, labels, field(2, field(1, "\x08\x81\x00"))), "longer than it must be")
	f(field(1, labels, field(2, field(1, "\x08"))), "cut off")
	f(field(1, labels, field(2, field(1, "\x10\x01\x08\x01"))), "not in its place")
	f(field(1, labels, field(2, field(1, "\x0a\x01"))), "tag 0xa")
	f(field(1, labels, field(2, field(1, "\x10\x80\x94\xeb\xdc\x03"))), "a second or more")
	f(field(1, labels, field(2, field(1, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f"))), "beyond what nanoseconds can count")
	f(field(1, labels, field(2, time1, field(3))), "is no name of metadata")
	f(field(1, labels, field(2, time1, field(3, field(1, "k")))), "empty or not UTF-8")
	f(field(1, labels, field(2, time1, field(3, field(1, "k"), field(2, "\xff")))), "empty or not UTF-8")
	f(field(1, labels, field(2, time1, field(3, field(2, "v"), field(1, "k")))), "not in its place")
	f(field(1, labels, field(2, time1, meta, meta)), `"k" stands twice`)
	f("\x0a\x05abc", "5 bytes, and 3 are left")
	f("\x08\x01", "none of a field of bytes")
	f("\x0a", "cut off")
	f("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "too large")
}

func TestCheckLabels(t *testing.T) {
	f := func(labels, want string) {
		t.Helper()
		err := checkLabels(labels)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", labels, err, want)
		}
	}
	f(`{a="b"}`, "")
	f(`{a="b", c="d"}`, "")
	f(`{A_1="\"}, é\n\x7f"}`, "")
	f(``, "no opening brace")
	f(`{}`, "no label")
	f(`{a="b"`, "follows the value")
	f(`{a="b",c="d"}`, "follows the value")
	f(`{a="b"} `, "follows the value")
	f(`{c="b", a="d"}`, "not in order")
	f(`{a="b", a="d"}`, "not in order")
	f(`{1a="b"}`, "no name of a label")
	f(`{a-b="b"}`, "no name of a label")
	f(`{="b"}`, "no name of a label")
	f(`{a=b}`, "not quoted")
	f("{a=`b`}", "not quoted")
	f(`{a=""}`, "is empty")
	f("{a=\"\xff\"}", "canonical form")
	f(`{a="\xff"}`, "not UTF-8")
	f(`{a="\u0041"}`, "canonical form")
}

func TestDecodeJSON(t *testing.T) {
	good := func(push string, want ...Entry) {
		t.Helper()
		got, err := Decode(jsonHeader(), []byte(push))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v, want %+v", push, got, err, want)
		}
	}
	bad := func(push, want string) {
		t.Helper()
		entries, err := Decode(jsonHeader(), []byte(push))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v, want %q", push, entries, err, want)
		}
	}
	push := func(values string) string { return `{"streams":[{"stream":{"a":"b"},"values":[` + values + `]}]}` }
	good(push(`["7","l"]`), Entry{Labels: `{a="b"}`, Time: 7, Line: "l"})
	good(push(`["-7","",{"k":"v","j":"\n"}]`), Entry{Labels: `{a="b"}`, Time: -7, Metadata: []Pair{{"k", "v"}, {"j", "\n"}}})
	bad(``, "json: ")
	bad(`{}`, "no streams")
	bad(`{"streams":[],"x":1}`, "unknown field")
	bad(push(`["7","l"]`)+" {}", "something follows")
	bad(`{"streams":[{"values":[["7","l"]]}]}`, "unexpected end")
	bad(`{"streams":[{"stream":null,"values":[["7","l"]]}]}`, "an object is missing")
	bad(`{"streams":[{"stream":{},"values":[["7","l"]]}]}`, "no label")
	bad(`{"streams":[{"stream":{"b":"c","a":"b"},"values":[["7","l"]]}]}`, "not in order")
	bad(`{"streams":[{"stream":{"a":"c","a":"b"},"values":[["7","l"]]}]}`, "stands twice")
	bad(`{"streams":[{"stream":{"a":1},"values":[["7","l"]]}]}`, "json")
	bad(push(``), "has no entries")
	bad(push(`["7"]`), "has 1 elements")
	bad(push(`["7","l",{},{}]`), "has 4 elements")
	bad(push(`[7,"l"]`), "time is no string")
	bad(push(`["7",null]`), "line is no string")
	bad(push(`["0","l"]`), `time "0" is none`)
	bad(push(`["x","l"]`), `time "x" is none`)
	bad(push(`["7","l",{"1k":"v"}]`), "no name of metadata")
	bad(push(`["7","l",{"k":""}]`), "empty or not UTF-8")
	bad(push("[\"7\",\"\xff\"]"), "not UTF-8")
}

func TestContentTypes(t *testing.T) {
	body := snappy.Encode(nil, []byte(field(1, labels, field(2, time1))))
	text := []byte(`{"streams":[{"stream":{"a":"b"},"values":[["7","l"]]}]}`)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(text) // Neither fails on a buffer.
	_ = z.Close()
	f := func(media, encoding string, body []byte, ok bool) {
		t.Helper()
		h := http.Header{}
		if media != "" {
			h.Set("Content-Type", media)
		}
		if encoding != "" {
			h.Set("Content-Encoding", encoding)
		}
		if _, err := Decode(h, body); (err == nil) != ok {
			t.Errorf("%q, %q: %v", media, encoding, err)
		}
	}
	f("application/x-protobuf", "", body, true)
	f("application/x-protobuf", "snappy", body, true)
	f("application/json", "", text, true)
	f("application/json", "gzip", zipped.Bytes(), true)
	f("", "", body, false)
	f("application/octet-stream", "", body, false)
	f("application/json; charset=utf-8", "", text, false)
	f("application/x-protobuf", "gzip", zipped.Bytes(), false)
	f("application/json", "deflate", text, false)
	f("application/json", "gzip", text, false)
	f("application/json", "gzip", zipped.Bytes()[:zipped.Len()-4], false)
	f("application/x-protobuf", "", []byte("\xff\xff\xff\xff\x0f"), false)
	f("application/x-protobuf", "", body[:len(body)-1], false)
}

// A decoder that is used again remembers nothing of the push before.
func TestDecoderIsUsedAgain(t *testing.T) {
	d := newDecoder()
	big := snappy.Encode(nil, []byte(field(1, labels, field(2, time1, line, meta), field(2, time1, line))+
		field(1, field(1, `{a="c"}`), field(2, time1, line))))
	small := snappy.Encode(nil, []byte(field(1, labels, field(2, time1))))
	for range 3 {
		if _, err := d.decode(protobufHeader(), big); err != nil || len(d.streams) != 2 || len(d.streams[0].entries) != 2 {
			t.Fatalf("%+v, %v", d.streams, err)
		}
		if _, err := d.decode(protobufHeader(), small); err != nil || len(d.streams) != 1 {
			t.Fatalf("%+v, %v", d.streams, err)
		}
		if e := d.streams[0].entries; len(e) != 1 || len(e[0].line) != 0 || len(e[0].metadata) != 0 {
			t.Fatalf("entries %+v", e)
		}
	}
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := d.decode(protobufHeader(), big); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 3 { // the header that the test makes
		t.Errorf("%v allocations for a push that was seen before", allocs)
	}
}

// No input makes the decoder fail otherwise than with an error, and what it
// takes holds what it promises.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(field(1, labels, field(2, time1, line, meta))), false)
	f.Add([]byte(field(1, labels, field(2, field(1, "\x08\x80\x80")))), false)
	f.Add([]byte(`{"streams":[{"stream":{"a":"b"},"values":[["7","l",{"k":"v"}]]}]}`), true)
	f.Fuzz(func(t *testing.T, raw []byte, isJSON bool) {
		h, body := protobufHeader(), snappy.Encode(nil, raw)
		if isJSON {
			h, body = jsonHeader(), raw
		}
		entries, err := Decode(h, body)
		if err != nil {
			return
		}
		if len(entries) == 0 {
			t.Error("a push without entries was taken")
		}
		for _, e := range entries {
			if checkLabels(e.Labels) != nil || checkMetadata(e.Metadata) != nil || e.Time == 0 {
				t.Errorf("an invalid entry was taken: %+v", e)
			}
		}
		// The compressed form is as little to be trusted.
		_, _ = Decode(protobufHeader(), raw)
	})
}
