package dispatcher

import (
	"log_capturer/internal/pipeline"
	"log_capturer/internal/record"
)

// work is what is at hand while a batch is taken in.
type work struct {
	event   pipeline.Event
	origin  *record.Batch
	anchors []record.Anchor
	// index is that of the record in the pipeline; same is the number of
	// records before it that came out as they went in, or -1 when one did not.
	index, same int
	out         *record.Batch
	sinks       []pipeline.SinkSet
}

// take takes a batch through the pipeline. What comes out is put into the outbox.
func (s *processed) take(b *record.Batch) {
	if !s.known {
		s.read, s.done, s.known = b.From, b.From, true
	}
	s.begin(b)
	w := &s.work
	w.anchors = b.Anchors(w.anchors[:0])
	if s.run.Holds() {
		w.same = -1
	}
	before := b.From.Streams
	for i := range b.Records {
		r := &b.Records[i]
		from := before[r.Stream]
		before[r.Stream] = w.anchors[i]
		w.index = i
		if w.anchors[i].Seq <= s.read.Streams[r.Stream].Seq {
			s.changed() // it was taken in before
			continue
		}
		s.cut(r.Stream, from.Seq)
		fields, labels := w.event.Fields[:0], w.event.Labels[:0]
		w.event = pipeline.Event{
			Source: s.source, Stream: r.Stream, Flags: r.Flags, Line: b.Line(r), Time: r.Time, Captured: r.Time,
			Fields: fields, Labels: labels, Sinks: s.choice.Sinks, Before: from, After: w.anchors[i], Count: 1,
		}
		s.run.Process(&w.event)
		if w.same >= 0 && w.same <= i {
			s.changed() // it was dropped, or is held
		}
	}
	w.index = len(b.Records)
	s.read.Advance(b.To, record.AllStreams)
	s.end()
}

// cut sends on what is held where a sink's records end.
func (s *processed) cut(stream record.Stream, seq uint64) {
	for _, c := range s.cuts {
		if seq > 0 && c.Streams[stream].Seq == seq && s.run.Holds() {
			s.changed()
			s.run.Close()
		}
	}
}

// begin prepares the work on a batch, or on what is held where there is none.
func (s *processed) begin(b *record.Batch) {
	s.work.origin, s.work.index, s.work.same = b, 0, 0
	if b == nil {
		s.work.same = -1
	}
}

// emit takes an event that came out.
func (s *processed) emit(e *pipeline.Event) {
	w := &s.work
	if w.same == w.index && s.unchanged(e) {
		w.same++
		return
	}
	s.changed()
	s.append(e)
}

// unchanged reports whether an event is as it went in.
func (s *processed) unchanged(e *pipeline.Event) bool {
	b := s.work.origin
	r := &b.Records[s.work.index]
	line := b.Line(r)
	return e == &s.work.event && len(e.Fields)+len(e.Labels) == 0 && e.Sinks == 0 && e.Level == pipeline.NoLevel &&
		e.Time == r.Time && len(e.Line) == len(line) && (len(line) == 0 || &e.Line[0] == &line[0])
}

// changed begins a derived batch, where none was begun, with the records that
// came out as they went in.
func (s *processed) changed() {
	w := &s.work
	if w.same < 0 {
		return
	}
	same := w.same
	w.same = -1
	for i := range same {
		r := &w.origin.Records[i]
		s.batch().AppendDerived(*r, w.origin.Line(r), record.Derivation{Origin: w.anchors[i]})
		w.sinks = append(w.sinks, 0)
	}
}

// batch returns the derived batch at hand.
func (s *processed) batch() *record.Batch {
	if s.work.out == nil {
		size := 0
		if s.work.origin != nil {
			size = s.work.origin.LineBytes()
		}
		s.work.out = record.NewBatch(s.source, size)
		if s.work.origin != nil {
			s.work.out.Gathered = s.work.origin.Gathered
		}
	}
	return s.work.out
}

func (s *processed) append(e *pipeline.Event) {
	d := record.Derivation{Origin: e.After, Level: e.Level.String()}
	for i := range e.Fields {
		v := e.Fields[i].Value
		d.Attributes = append(d.Attributes, record.Attribute{Name: e.Fields[i].Name, Value: v.Text, JSON: v.Kind != pipeline.Text})
	}
	for _, l := range e.Labels {
		d.Labels = append(d.Labels, record.Attribute{Name: l.Name, Value: l.Value})
	}
	r := record.Record{Time: e.Time, Ordinal: 1, Stream: e.Stream, Flags: e.Flags}
	if e.Time == e.After.Time {
		r.Ordinal = e.After.Count // tells it from others of the same nanosecond
	}
	s.batch().AppendDerived(r, e.Line, d)
	s.work.sinks = append(s.work.sinks, e.Sinks)
}

// end puts what came out into the outbox.
func (s *processed) end() {
	w := &s.work
	defer func() { w.origin, w.out, w.sinks = nil, nil, nil }()
	to := s.read
	for stream := range record.Stream(record.NumStreams) {
		if e := s.run.Oldest(stream); e != nil {
			to.Streams[stream] = e.Before
		}
	}
	if w.same >= 0 && w.same == len(w.origin.Records) {
		w.origin.Retain(1)
		s.outbox = append(s.outbox, parcel{batch: w.origin, table: s.table, to: to})
		s.done = to
		return
	}
	if w.out == nil && to == s.done {
		return
	}
	if w.out != nil {
		w.out.From, w.out.To = s.done, to
	}
	s.outbox = append(s.outbox, parcel{batch: w.out, sinks: w.sinks, table: s.table, to: to})
	s.done = to
}
