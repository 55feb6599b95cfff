package dispatcher

import (
	"context"
	"errors"
	"time"

	"log_capturer/internal/pipeline"
)

// flushInterval is how often lines are looked for that were held long enough.
const flushInterval = 200 * time.Millisecond

// Run sends on what stages have held for as long as they may, and what they hold
// of sources that have ended, until ctx is done. What is held then is read again
// after the next start.
func (p *Processor) Run(ctx context.Context) error {
	timer := time.NewTimer(flushInterval)
	defer timer.Stop()
	waiting := true
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-p.held:
			if !waiting {
				timer.Reset(flushInterval)
				waiting = true
			}
		case <-timer.C:
			waiting = false
			err = p.Flush(ctx)
		case <-p.wake:
			err = p.flushEnded(ctx)
		}
		if err != nil && ctx.Err() == nil {
			p.logger.Warn("flush_failed", "error", err)
		}
	}
}

// Flush sends on what stages have held for as long as they may. Sources that are
// being read at the moment are left out.
func (p *Processor) Flush(ctx context.Context) error {
	p.mu.Lock()
	all := make([]*processed, 0, len(p.unsent))
	for s := range p.unsent {
		all = append(all, s)
	}
	p.mu.Unlock()
	err := p.flushAll(ctx, all)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.unsent) > 0 {
		p.flushSoon()
	}
	return err
}

// note enters whether something of a source is held or was not accepted by all
// sinks. The caller has its turn.
func (p *Processor) note(s *processed) {
	unsent := len(s.outbox) > 0 || s.run != nil && s.run.Holds()
	if unsent == s.unsent {
		return
	}
	s.unsent = unsent
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !unsent:
		delete(p.unsent, s)
	case p.sources[s.key] == s: // it was not forgotten
		p.unsent[s] = struct{}{}
		p.flushSoon()
	}
}

// flushSoon has Run flush within the interval. The caller holds p.mu.
func (p *Processor) flushSoon() {
	select {
	case p.held <- struct{}{}:
	default:
	}
}

func (p *Processor) flushAll(ctx context.Context, all []*processed) error {
	var errs []error
	for _, s := range all {
		select {
		case s.turn <- struct{}{}:
			errs = append(errs, p.flush(ctx, s))
			p.note(s)
			s.leave()
		default:
		}
	}
	return errors.Join(errs...)
}

func (p *Processor) flush(ctx context.Context, s *processed) error {
	if table := p.routes.Load().table; s.source != nil && s.table != table {
		p.open(s, s.source, table)
	}
	s.finish()
	s.sendOn((*pipeline.Run).Flush)
	return p.send(ctx, s)
}

// sendOn puts into the outbox what flush makes the stages give.
func (s *processed) sendOn(flush func(*pipeline.Run)) {
	if s.run != nil && s.run.Holds() {
		s.begin(nil)
		flush(s.run)
		s.end()
	}
}

// finish sends on all that is held of a source that has come to an end.
func (s *processed) finish() {
	if s.over.Swap(false) {
		s.sendOn((*pipeline.Run).Close)
	}
}

// Ended says that no more lines come of a source, or only those of another run
// of it: what its stages hold goes on at once, and not after the time for which
// it might be held. It does not block.
func (p *Processor) Ended(source string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.sources[source]
	if s == nil {
		return
	}
	s.over.Store(true)
	p.ended = append(p.ended, source)
	select {
	case p.wake <- struct{}{}:
	default: // it is awake
	}
}

// flushEnded sends on what is held of the sources that have ended. One that
// somebody uses has it sent on by its next Accept or Flush.
func (p *Processor) flushEnded(ctx context.Context) error {
	p.mu.Lock()
	ended := make([]*processed, 0, len(p.ended))
	for _, key := range p.ended {
		if s := p.sources[key]; s != nil {
			ended = append(ended, s)
		}
	}
	p.ended = nil
	p.mu.Unlock()
	return p.flushAll(ctx, ended)
}
