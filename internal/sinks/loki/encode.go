package loki

import (
	"fmt"
	"slices"

	"github.com/klauspost/compress/s2"

	"log_capturer/internal/delivery"
	"log_capturer/internal/httpclient"
	"log_capturer/internal/record"
	"log_capturer/internal/reuse"
)

// scratch is what one encoding needs besides the request's own buffer. It is
// kept for the next one.
type scratch struct {
	// raw is the push before compression.
	raw reuse.Buffer
	// runs are the request's parts, those of one Loki stream in a row.
	runs []run
	// streams numbers the request's Loki streams by their labels.
	streams map[string]int
	// labelled are fixed parts with the labels of records in them, by the
	// labels, and key is room for such a key.
	labelled map[string]*fixed
	key      []byte
	gzip     httpclient.Gzip
}

func newScratch() *scratch { return &scratch{streams: map[string]int{}, labelled: map[string]*fixed{}} }

// run is a part, or the records of one stream of a part, that goes into one
// Loki stream.
type run struct {
	part delivery.Part
	// of is the part's place in the request, first that of the run's first
	// record among the records of the request, where labels are those of
	// records.
	of, first int
	streams   record.StreamSet
	fixed     [record.NumStreams]*fixed
	// number is the Loki stream's place in the push.
	number int
}

// labels returns the encoded labels of the run's Loki stream, which are the same
// for all of its streams.
func (r *run) labels() []byte {
	for _, f := range r.fixed {
		if f != nil {
			return f.labels
		}
	}
	return nil
}

// encode writes the push into req.Body.
func (s *Sink) encode(req *delivery.Request) error {
	sc := s.scratch.Get().(*scratch)
	defer s.release(sc)
	if s.byRecord() {
		s.planByRecord(sc, req)
	} else {
		s.plan(sc, req)
	}
	var err error
	req.Body, err = s.encodeRuns(req.Body[:0], sc, sc.runs)
	return err
}

// release empties sc and gives it back.
func (s *Sink) release(sc *scratch) {
	clear(sc.runs) // The next request must not keep this one's batches.
	sc.runs = sc.runs[:0]
	clear(sc.streams)
	s.scratch.Put(sc)
}

// encodeRuns appends the push of runs to dst.
func (s *Sink) encodeRuns(dst []byte, sc *scratch, runs []run) ([]byte, error) {
	how := entries{omitMetadata: s.omitMetadata, recordLabels: s.recordLabels}
	if s.encoding == JSON {
		push := appendJSONPush(sc.raw.Take(), runs, how)
		sc.raw.Keep(push)
		return sc.gzip.Append(dst, push)
	}
	raw, push := appendPush(slices.Grow(sc.raw.Take(), pushRoom(runs)), runs, how)
	sc.raw.Keep(raw)
	if s2.MaxEncodedLen(len(push)) < 0 {
		return dst, fmt.Errorf("a push of %d bytes is more than snappy takes", len(push))
	}
	return appendSnappy(slices.Grow(dst, snappyRoom(len(push))), push), nil
}

// entries says how entries are written.
type entries struct {
	// omitMetadata leaves all metadata out.
	omitMetadata bool
	// recordLabels are labels of records that are no metadata, since they are
	// labels of the Loki stream.
	recordLabels []string
}

// plan sorts the request's parts into runs by Loki stream, which keeps the
// order of the records of each.
func (s *Sink) plan(sc *scratch, req *delivery.Request) {
	for i := range req.Parts {
		p := &req.Parts[i]
		for stream := range record.Stream(record.NumStreams) {
			if !holds(p, stream) {
				continue
			}
			f := s.fixed.Of(p.Batch.Source, stream)
			number := sc.number(f)
			// A part of two streams with the same labels stays one run, so that
			// its lines stay as they were written among each other.
			if n := len(sc.runs); n > 0 && sc.runs[n-1].of == i && sc.runs[n-1].number == number {
				sc.runs[n-1].streams |= record.Only(stream)
				sc.runs[n-1].fixed[stream] = f
				continue
			}
			r := run{part: *p, of: i, streams: record.Only(stream), number: number}
			r.fixed[stream] = f
			sc.runs = append(sc.runs, r)
		}
	}
	if len(sc.streams) > 1 {
		slices.SortStableFunc(sc.runs, func(a, b run) int { return a.number - b.number })
	}
}

// number returns the place of the Loki stream of f in the push.
func (sc *scratch) number(f *fixed) int {
	number, ok := sc.streams[f.stream]
	if !ok {
		number = len(sc.streams)
		sc.streams[f.stream] = number
	}
	return number
}

// holds reports whether p has a record of the stream.
func holds(p *delivery.Part, stream record.Stream) bool {
	return p.Streams.Has(stream) && p.Batch.Streams.Has(stream) &&
		slices.ContainsFunc(p.Batch.Records[p.From:p.To], func(r record.Record) bool { return r.Stream == stream })
}

// sentTime returns the time that a record is sent with, in nanoseconds since
// the Unix epoch: its own, moved on by one for each record of the run of equal
// times before it.
func sentTime(r *record.Record) int64 {
	if r.Ordinal > 1 {
		return r.Time + int64(r.Ordinal) - 1
	}
	return r.Time
}
