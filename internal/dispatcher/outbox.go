package dispatcher

import (
	"context"

	"log_capturer/internal/pipeline"
	"log_capturer/internal/record"
)

// parcel is what the sinks are given in one step.
type parcel struct {
	// batch holds every record; sinks has the places of each, among those of the
	// table.
	batch *record.Batch
	sinks []pipeline.SinkSet
	table *pipeline.Table
	to    record.Cursor
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
