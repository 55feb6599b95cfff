package dispatcher

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"log_capturer/internal/delivery"
	"log_capturer/internal/pipeline"
	"log_capturer/internal/record"
)

// Processor takes batches through the pipelines of their sources, and what comes
// out to the sinks.
//
// What a sink is given then are derived batches, whose records know how far the
// source is done when they are. A record that is dropped, or goes to other
// sinks, is done when everything before it is. A line that a stage holds back is
// not: no cursor moves past it before the record that it becomes is delivered,
// so that after a crash it is read again. Where a sink stood when the source was
// resumed, what is held is sent on first: the records that the sink has end
// there, and so do those that are made again.
//
// A batch that no stage changes is passed on as it is.
//
// The pipelines and the sinks are one value, which is replaced as a whole. What a
// source has held until then is sent on when the source comes to the new one.
type Processor struct {
	next   *Dispatcher
	logger *slog.Logger
	routes atomic.Pointer[routes]
	shown  Audience // nil for none

	mu      sync.Mutex
	sources map[string]*processed
	// unsent are the sources of which something is held, or was not accepted by all
	// sinks; held has a token when one has come to them.
	unsent map[*processed]struct{}
	held   chan struct{}
	// ended are the sources that have come to an end and may hold something;
	// wake has a token when there are any.
	ended []string
	wake  chan struct{}
}

// routes are the pipelines, and the sinks with the place that the pipelines know
// each by.
type routes struct {
	table  *pipeline.Table
	sinks  []*delivery.Delivery
	places []int
}

func newRoutes(sinks []*delivery.Delivery, table *pipeline.Table) *routes {
	r := &routes{table: table, sinks: sinks}
	for _, sink := range sinks {
		r.places = append(r.places, table.Place(sink.Name()))
	}
	return r
}

// NewProcessor returns a processor before next, whose sinks are among those that
// the table was compiled with.
func NewProcessor(next *Dispatcher, table *pipeline.Table, logger *slog.Logger) *Processor {
	p := &Processor{
		next: next, logger: logger, sources: map[string]*processed{},
		unsent: map[*processed]struct{}{}, held: make(chan struct{}, 1), wake: make(chan struct{}, 1),
	}
	p.routes.Store(newRoutes(*next.sinks.Load(), table))
	return p
}

// Use has batches go through the pipelines of table, and to sinks, from now on. It
// is Dispatcher.Use as well.
func (p *Processor) Use(sinks []*delivery.Delivery, table *pipeline.Table) {
	p.next.Use(sinks)
	p.routes.Store(newRoutes(sinks, table))
}

// BeginAnew forgets what was taken in of all sources, and not accepted by all
// sinks: it is read again from where these stand. Nobody may be in Accept or Run.
func (p *Processor) BeginAnew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.sources {
		for _, c := range s.outbox {
			if c.batch != nil {
				c.batch.Release()
			}
		}
	}
	p.sources, p.unsent, p.ended = map[string]*processed{}, map[*processed]struct{}{}, nil
}

// Audience sees what comes out of the pipelines, as the sinks accept it.
type Audience interface {
	// Watched reports whether anybody looks. It is asked for each batch.
	Watched() bool
	// Publish shows a batch, which the caller holds. It does not block.
	Publish(b *record.Batch)
}

// ShowTo sets the audience, before the first batch comes.
func (p *Processor) ShowTo(a Audience) { p.shown = a }

func (p *Processor) watched() bool { return p.shown != nil && p.shown.Watched() }

// processed is the state of a source. It is used by whoever has its turn.
type processed struct {
	key string
	// turn has room for one token, which is held by whoever uses the rest.
	turn chan struct{}
	// unsent says that it is in Processor.unsent.
	unsent bool
	// over says that what was taken in is all of a run of the source, so that
	// nothing of it is to wait for more.
	over atomic.Bool

	source *record.Source
	table  *pipeline.Table
	choice pipeline.Choice
	run    *pipeline.Run // nil where there is no pipeline
	// cuts are where sinks stood when the source was resumed.
	cuts []record.Cursor
	// read is the cursor after what was taken in, done the one after what is
	// in outbox or beyond it.
	read, done record.Cursor
	known      bool
	// outbox holds what is not accepted by all sinks yet, oldest first.
	outbox []parcel

	work work
}

// parcel is what the sinks are given in one step.
type parcel struct {
	// batch holds every record; sinks has the places of each, among those of the
	// table.
	batch *record.Batch
	sinks []pipeline.SinkSet
	table *pipeline.Table
	to    record.Cursor
}

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

// of returns the state of a source, and takes a turn at it.
func (p *Processor) of(ctx context.Context, key string) (*processed, error) {
	p.mu.Lock()
	s := p.sources[key]
	if s == nil {
		s = &processed{key: key, turn: make(chan struct{}, 1)}
		p.sources[key] = s
	}
	p.mu.Unlock()
	select {
	case s.turn <- struct{}{}:
		return s, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *processed) leave() { <-s.turn }

// Accept takes over the caller's hold of b, takes the batch through its source's
// pipeline, and what comes out to the sinks. When ctx is done first, the caller
// reads on from before the batch: what was taken in is not taken in again.
func (p *Processor) Accept(ctx context.Context, b *record.Batch) error {
	s, err := p.of(ctx, b.Source.Key)
	if err != nil {
		b.Release()
		return err
	}
	defer s.leave()
	defer p.note(s)
	p.open(s, b.Source, p.routes.Load().table)
	if s.run == nil && len(s.outbox) == 0 && !p.watched() {
		return p.next.Accept(ctx, b)
	}
	if b, err = p.next.limited(ctx, b); b == nil || err != nil {
		return err
	}
	defer b.Release()
	s.finish()
	if err := p.send(ctx, s); err != nil {
		return err
	}
	if s.run == nil {
		if err := p.next.accept(ctx, p.routes.Load().sinks, func(int) *record.Batch { return b }); err != nil {
			return err
		}
		if p.watched() {
			p.shown.Publish(b)
		}
		return nil
	}
	s.take(b)
	return p.send(ctx, s)
}

// open prepares the state for a source, which may have changed, and for the
// pipelines, which may have as well.
func (p *Processor) open(s *processed, src *record.Source, table *pipeline.Table) {
	if s.source == src && s.table == table {
		return
	}
	s.sendOn((*pipeline.Run).Close)
	s.source, s.table, s.choice = src, table, table.For(src)
	for _, warning := range s.choice.Warnings {
		p.logger.Warn("label_not_followed", "container", src.Name(), "reason", warning)
	}
	s.run = nil
	defer func() {
		if s.run == nil {
			s.known = false // what is passed on as it is, is not followed
		}
		s.cuts = append(s.cuts, p.accepted(src.Key)...)
	}()
	if s.choice.Pipeline != nil {
		s.run = s.choice.Pipeline.Open(src, s.emit, nil)
	} else if s.choice.Sinks != 0 {
		s.run = pipeline.Through().Open(src, s.emit, nil)
	}
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

// send gives the sinks what is in the outbox. What not all of them have accepted
// stays there: those that have it skip it when it comes again.
func (p *Processor) send(ctx context.Context, s *processed) error {
	for len(s.outbox) > 0 {
		if err := p.deliver(ctx, s, &s.outbox[0]); err != nil {
			return err
		}
		if b := s.outbox[0].batch; b != nil {
			if p.watched() {
				p.shown.Publish(b)
			}
			b.Release()
		}
		s.outbox[0] = parcel{}
		s.outbox = s.outbox[1:]
	}
	s.outbox = nil
	return nil
}

// deliver gives each sink the records that are for it. A sink that has none of
// them passes them.
func (p *Processor) deliver(ctx context.Context, s *processed, c *parcel) error {
	r := p.routes.Load()
	own := make([]*record.Batch, len(r.sinks))
	defer func() {
		for _, b := range own {
			if b != nil && b != c.batch {
				b.Release()
			}
		}
	}()
	for i, sink := range r.sinks {
		place := r.places[i]
		if c.table != r.table {
			place = c.table.Place(sink.Name()) // it came out before these routes
		}
		own[i] = c.of(place)
	}
	if err := p.next.accept(ctx, r.sinks, func(place int) *record.Batch { return own[place] }); err != nil {
		return err
	}
	if c.batch != nil && !c.batch.Derived() {
		return nil
	}
	for _, sink := range r.sinks {
		if err := sink.Pass(s.source.Key, c.to); err != nil {
			return err
		}
	}
	return nil
}

// of returns the batch for the sink at a place, which is negative for one that the
// pipelines did not know: that of all where every record is for it, or a new one.
func (c *parcel) of(place int) *record.Batch {
	if c.batch == nil {
		return nil
	}
	n := 0
	for _, set := range c.sinks {
		if has(set, place) {
			n++
		}
	}
	switch {
	case n == len(c.sinks): // all, or no sinks were named
		return c.batch
	case n == 0:
		return nil
	}
	b := record.NewBatch(c.batch.Source, c.batch.LineBytes()*n/len(c.sinks))
	b.From, b.To, b.Gathered = c.batch.From, c.batch.To, c.batch.Gathered
	for i, set := range c.sinks {
		if has(set, place) {
			r := &c.batch.Records[i]
			b.AppendDerived(*r, c.batch.Line(r), *c.batch.Derivation(r))
		}
	}
	return b
}

// has reports whether a record goes to the sink at a place.
func has(set pipeline.SinkSet, place int) bool {
	if place < 0 {
		return set == 0 // to all sinks
	}
	return set.Has(place)
}

// Resume is Dispatcher.Resume. The records that sinks have end where they stand.
func (p *Processor) Resume(source string, start record.Cursor) ([]record.Cursor, error) {
	known, err := p.next.Resume(source, start)
	if err != nil {
		return nil, err
	}
	s, err := p.of(context.Background(), source)
	if err != nil {
		return nil, err
	}
	defer s.leave()
	if !s.known {
		s.cuts = slices.Concat(known, p.accepted(source))
	}
	return known, nil
}

// accepted returns what the sinks have accepted of a source, which is more than
// where they stand.
func (p *Processor) accepted(source string) []record.Cursor {
	var cursors []record.Cursor
	for _, sink := range p.routes.Load().sinks {
		if c, ok := sink.Accepted(source); ok {
			cursors = append(cursors, c)
		}
	}
	return cursors
}

// Forget removes the positions of a source that will not come again.
func (p *Processor) Forget(source string) error {
	p.mu.Lock()
	delete(p.unsent, p.sources[source])
	delete(p.sources, source)
	p.mu.Unlock()
	return p.next.Forget(source)
}
