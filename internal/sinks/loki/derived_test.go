package loki

import (
	"fmt"
	"strings"
	"testing"

	"log_capturer/internal/record"
	"log_capturer/internal/sinks/loki/lokitest"
)

func TestDerivedMetadata(t *testing.T) {
	f := func(d *record.Derivation, want string) {
		t.Helper()
		var got []string
		for name, value := range derivedMetadata(d, nil) {
			got = append(got, name+"="+value)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(&record.Derivation{}, "")
	f(&record.Derivation{
		Level:      "warn",
		Labels:     []record.Attribute{{Name: "app", Value: "shop"}},
		Attributes: []record.Attribute{{Name: "http.status", Value: "200", JSON: true}, {Name: "1é", Value: "x"}, {Name: "", Value: "y"}},
	}, "level=warn app=shop http_status=200 ___=x _=y")
	// A name comes once, and none of the sink's own.
	f(&record.Derivation{
		Level:      "warn",
		Attributes: []record.Attribute{{Name: "level", Value: "x"}, {Name: "a.b", Value: "1"}, {Name: "a_b", Value: "2"}, {Name: "ordinal", Value: "3"}, {Name: "stream", Value: "4"}},
	}, "level=warn a_b=1")
	var many record.Derivation
	for i := range 200 {
		many.Attributes = append(many.Attributes, record.Attribute{Name: fmt.Sprint("a", i), Value: "1"})
	}
	n := 0
	for range derivedMetadata(&many, nil) {
		n++
	}
	if n != maxDerived {
		t.Errorf("%d items of 200, want %d", n, maxDerived)
	}
}

// The metadata is in the push, in both encodings.
func TestDerivedPush(t *testing.T) {
	for _, encoding := range []Encoding{Protobuf, JSON} {
		s := newSink(t, Options{Encoding: encoding, StreamsPerPush: 1, StructuredMetadata: map[string]string{"image": "{image}"}, Labels: map[string]string{"stream": "{stream}"}})
		b := record.NewBatch(&record.Source{ContainerName: "web", Image: "i"}, 0)
		b.AppendDerived(record.Record{Time: 1e18, Ordinal: 1}, []byte("a"), record.Derivation{
			Level: "warn", Attributes: []record.Attribute{{Name: "http.status", Value: "200", JSON: true}, {Name: "q", Value: `a"b`}},
		})
		b.AppendDerived(record.Record{Time: 2e18, Ordinal: 1}, []byte("b"), record.Derivation{})
		req := requestOf(b)
		if err := s.encode(req); err != nil {
			t.Fatal(err)
		}
		entries, err := lokitest.Decode(s.headerOf(""), req.Body)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			got = append(got, fmt.Sprint(e.Line, " ", e.Metadata))
		}
		const want = `a [{image i} {level warn} {http_status 200} {q a"b}]` + "\n" + `b [{image i}]`
		if text := strings.Join(got, "\n"); text != want {
			t.Errorf("%v: got\n%s\nwant\n%s", encoding, text, want)
		}
	}
}
