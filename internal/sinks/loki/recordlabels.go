package loki

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"log_capturer/internal/delivery"
	"log_capturer/internal/record"
)

// checkRecordLabels returns Options.RecordLabels, sorted, or what is wrong with
// them.
func checkRecordLabels(o Options) ([]string, error) {
	for _, name := range o.RecordLabels {
		if !validName(name) {
			return nil, fmt.Errorf("record_labels: %q is no valid name: use letters, digits and '_', and no digit first", name)
		}
		if _, ok := o.StructuredMetadata[name]; ok {
			return nil, fmt.Errorf("structured_metadata %q has the name of a label: rename one", name)
		}
		if slices.Contains(reservedMetadata, name) {
			return nil, fmt.Errorf("record_labels: %q is set by the sink itself: rename it", name)
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(o.RecordLabels))), nil
}

// byRecord reports whether records of one source may have different labels.
func (s *Sink) byRecord() bool { return len(s.recordLabels) > 0 }

// planByRecord is plan where records have labels of their own: runs are cut
// wherever these change.
func (s *Sink) planByRecord(sc *scratch, req *delivery.Request) {
	place := 0
	for i := range req.Parts {
		p := &req.Parts[i]
		for j := p.From; j < p.To; j++ {
			rec := &p.Batch.Records[j]
			if !p.Streams.Has(rec.Stream) {
				continue
			}
			f := s.labelled(sc, s.fixed.Of(p.Batch.Source, rec.Stream), p.Batch.Derivation(rec))
			number := sc.number(f)
			if n := len(sc.runs); n > 0 {
				last := &sc.runs[n-1]
				if last.of == i && last.number == number && last.part.To == j {
					last.part.To = j + 1
					last.streams |= record.Only(rec.Stream)
					last.fixed[rec.Stream] = f
					place++
					continue
				}
			}
			part := *p
			part.From, part.To = j, j+1
			r := run{part: part, of: i, first: place, streams: record.Only(rec.Stream), number: number}
			r.fixed[rec.Stream] = f
			sc.runs = append(sc.runs, r)
			place++
		}
	}
	slices.SortStableFunc(sc.runs, func(a, b run) int { return a.number - b.number })
}

// maxLabelled bounds the fixed parts that a scratch remembers.
const maxLabelled = 4096

// labelled returns the fixed parts of a record: base with the record's own
// labels.
func (s *Sink) labelled(sc *scratch, base *fixed, d *record.Derivation) *fixed {
	if d == nil {
		return base
	}
	// No two keys are alike: a length stands before each value.
	sc.key = append(sc.key[:0], base.stream...)
	for i := range d.Labels {
		if slices.Contains(s.recordLabels, d.Labels[i].Name) {
			sc.key = append(append(sc.key, '\n'), d.Labels[i].Name...)
			sc.key = strconv.AppendInt(append(sc.key, ' '), int64(len(d.Labels[i].Value)), 10)
			sc.key = append(append(sc.key, ' '), d.Labels[i].Value...)
		}
	}
	// The metadata is that of the source's stream, which may be another one
	// with the same labels.
	sc.key = append(append(sc.key, '\n'), base.metadata...)
	if f, ok := sc.labelled[string(sc.key)]; ok {
		return f
	}
	pairs := slices.DeleteFunc(slices.Clone(base.pairs), func(p pair) bool { return slices.Contains(s.recordLabels, p.name) })
	for i := range d.Labels {
		value := strings.ToValidUTF8(d.Labels[i].Value, string(utf8.RuneError))
		if len(value) > maxLabelValueBytes {
			value = strings.ToValidUTF8(value[:maxLabelValueBytes], "")
		}
		if value != "" && slices.Contains(s.recordLabels, d.Labels[i].Name) {
			pairs = append(pairs, pair{d.Labels[i].Name, value})
		}
	}
	if len(pairs) == 0 {
		pairs = fallbackLabels
	}
	slices.SortFunc(pairs, func(a, b pair) int { return strings.Compare(a.name, b.name) })
	f := &fixed{tenant: base.tenant, stream: canonical(pairs), metadata: base.metadata}
	f.labels = encodeLabels(s.encoding, pairs, f.stream)
	if len(sc.labelled) >= maxLabelled {
		clear(sc.labelled)
	}
	sc.labelled[string(sc.key)] = f
	return f
}

// sendByRecord pushes the Loki streams of a request one after the other.
func (s *Sink) sendByRecord(ctx context.Context, req *delivery.Request, tenant string) error {
	sc := s.scratch.Get().(*scratch)
	defer s.release(sc)
	s.planByRecord(sc, req)
	var refused []delivery.Refusal
	for runs := sc.runs; len(runs) > 0; {
		n := 1
		for n < len(runs) && runs[n].number == runs[0].number {
			n++
		}
		var err error
		if req.Body, err = s.encodeRuns(req.Body[:0], sc, runs[:n]); err != nil {
			return &delivery.PermanentError{Reason: "encoding", Err: err}
		}
		res, err := s.client.Post(ctx, s.url, s.headerOf(tenant), req.Body)
		if err != nil {
			return err
		}
		var places []int
		err = s.read(res, func() []*record.Record {
			var sent []*record.Record
			sent, places = recordsOfRuns(runs[:n])
			return sent
		})
		partial, ok := errors.AsType[*delivery.PartialError](err)
		if err != nil && !ok {
			return err
		}
		if ok {
			for _, r := range partial.Refused {
				r.Index = places[r.Index]
				refused = append(refused, r)
			}
		}
		runs = runs[n:]
	}
	if len(refused) == 0 {
		return nil
	}
	slices.SortFunc(refused, func(a, b delivery.Refusal) int { return cmp.Compare(a.Index, b.Index) })
	return &delivery.PartialError{Refused: refused}
}

// recordsOfRuns returns the records of runs, and the place of each in the
// request.
func recordsOfRuns(runs []run) (records []*record.Record, places []int) {
	for i := range runs {
		r := &runs[i]
		for j := r.part.From; j < r.part.To; j++ {
			records = append(records, &r.part.Batch.Records[j])
			places = append(places, r.first+j-r.part.From)
		}
	}
	return records, places
}
