package loki

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"log_capturer/internal/delivery"
	"log_capturer/internal/record"
	"log_capturer/internal/sinks/loki/lokitest"
)

// derivedBatch returns a batch of lines with a level each, "" for none; a line
// of level "-" goes without labels.
func derivedBatch(src *record.Source, from int, levels ...string) *record.Batch {
	b := record.NewBatch(src, 0)
	for i, level := range levels {
		d := record.Derivation{Attributes: []record.Attribute{{Name: "n", Value: fmt.Sprint(from + i), JSON: true}}}
		if level != "-" {
			d.Labels = []record.Attribute{{Name: "other", Value: "x"}, {Name: "level", Value: level}}
		}
		b.AppendDerived(record.Record{Time: int64(1e18) + int64(from+i), Ordinal: 1, Stream: record.Stream((from + i) % 2)}, fmt.Appendf(nil, "line %d", from+i), d)
	}
	return b
}

// Records go into the Loki streams of their labels, whole, in their order and
// once, whatever the encoding and the streams of a push.
func TestRecordLabels(t *testing.T) {
	for _, encoding := range []Encoding{Protobuf, JSON} {
		for _, streams := range []int{0, 1} {
			server := startLoki(t, lokitest.Options{Keep: true})
			s := newSink(t, Options{
				URL: server.URL(), Encoding: encoding, StreamsPerPush: streams, RecordLabels: []string{"level"},
				Labels: map[string]string{"container": "{container_name}", "level": "none"},
			})
			var batches []*record.Batch
			levels := []string{"info", "info", "warn", "info", "-", "", "warn", "info", "info"}
			for i := range 10 {
				batches = append(batches, derivedBatch(web, i*len(levels), levels...))
			}
			if err := s.Send(t.Context(), requestOf(batches...)); err != nil {
				t.Fatal(err)
			}
			byLabels := map[string][]string{}
			for _, e := range server.Entries() {
				byLabels[e.Labels] = append(byLabels[e.Labels], e.Line)
				if metadata := fmt.Sprint(e.Metadata); strings.Contains(metadata, "level") {
					t.Errorf("%s: %s: the label is metadata as well: %s", e.Labels, e.Line, metadata)
				}
			}
			want := map[string][]string{}
			for i := range 10 * len(levels) {
				labels := `{container="web"}`
				if level := levels[i%len(levels)]; level != "" && level != "-" {
					labels = `{container="web", level="` + level + `"}`
				}
				want[labels] = append(want[labels], fmt.Sprintf("line %d", i))
			}
			if fmt.Sprint(byLabels) != fmt.Sprint(want) {
				t.Errorf("%s, %d streams a push: got\n%v, want\n%v", encoding, streams, byLabels, want)
			}
			if pushes := server.Stats().Requests; streams == 1 && pushes != 3 {
				t.Errorf("%d pushes for 3 streams", pushes)
			}
		}
	}
}

// A record that no pipeline changed has the labels of its source.
func TestRecordLabelsWithoutPipeline(t *testing.T) {
	server := startLoki(t, lokitest.Options{Keep: true})
	s := newSink(t, Options{URL: server.URL(), StreamsPerPush: 1, RecordLabels: []string{"level"}, Labels: map[string]string{"level": "none"}})
	if err := s.Send(t.Context(), requestOf(batchOf(web, at(1e18, "a")))); err != nil {
		t.Fatal(err)
	}
	if entries := server.Entries(); len(entries) != 1 || entries[0].Labels != `{level="none"}` {
		t.Errorf("got %+v", entries)
	}
}

// What a push refuses is told by its place in the request.
func TestRecordLabelsRefused(t *testing.T) {
	server := startLoki(t, lokitest.Options{Keep: true, Limits: lokitest.Limits{MaxLineBytes: 10}})
	s := newSink(t, Options{URL: server.URL(), StreamsPerPush: 1, RecordLabels: []string{"level"}})
	b := record.NewBatch(web, 0)
	for i, line := range []string{"a", "b", "much too long", "c", "too long as well", "d"} {
		b.AppendDerived(record.Record{Time: int64(1e18) + int64(i), Ordinal: 1}, []byte(line), record.Derivation{
			Labels: []record.Attribute{{Name: "level", Value: fmt.Sprint(i % 2)}},
		})
	}
	// The part begins within the batch.
	req := &delivery.Request{Parts: []delivery.Part{{Batch: b, From: 1, To: 6, Streams: record.AllStreams}}}
	err := s.Send(t.Context(), req)
	partial, ok := errors.AsType[*delivery.PartialError](err)
	if !ok || fmt.Sprint(indexes(partial.Refused)) != "[1:line_too_long 3:line_too_long]" {
		t.Errorf("got %v", err)
	}
	if lines := linesOf(server.Entries()); len(lines) != 3 {
		t.Errorf("Loki has %q", lines)
	}
}

func TestRecordLabelsRefuses(t *testing.T) {
	f := func(o Options, want string) {
		t.Helper()
		o.URL, o.Labels = "http://loki:3100", map[string]string{"a": "b"}
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f(Options{RecordLabels: []string{"a.b"}}, `record_labels: "a.b" is no valid name`)
	f(Options{RecordLabels: []string{"cut"}}, `record_labels: "cut" is set by the sink itself`)
	f(Options{RecordLabels: []string{"x"}, StructuredMetadata: map[string]string{"x": "y"}}, `structured_metadata "x" has the name of a label`)
}
