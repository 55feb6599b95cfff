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
