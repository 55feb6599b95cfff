package pipeline

import (
	"bytes"
	"time"

	"log_capturer/internal/record"
)

// RepeatedField is the attribute of a record that stands for several: their
// number.
const RepeatedField = "repeated"

type collapseStage struct {
	window time.Duration
	key    *expression
}

func (o *Collapse) compile(*compiler) (stage, error) {
	s := &collapseStage{window: o.Window}
	var err error
	if o.Key != "" {
		s.key, err = value("key", o.Key)
	}
	return s, err
}

func (s *collapseStage) open(r *Run) instance {
	return &collapsing{collapseStage: s, env: r.env, now: r.now}
}

type collapsing struct {
	*collapseStage
	env     *environment
	now     func() time.Time
	scratch []byte
	streams [record.NumStreams]repeats
}

// repeats are those of one stream.
type repeats struct {
	// key is that of the last record; seen says that there was one.
	key  []byte
	seen bool
	// held is the last repeat, which stands for n records since the time first.
	held  Event
	n     int
	first int64
	since time.Time
}

func (c *collapsing) process(e *Event, next func(*Event)) error {
	key := e.Line
	if c.key != nil {
		var err error
		if c.scratch, err = c.key.appendText(c.scratch[:0], c.env, e); err != nil {
			c.release(e.Stream, next)
			return err
		}
		key = c.scratch
	}
	r := &c.streams[e.Stream]
	if !r.seen || !bytes.Equal(key, r.key) {
		r.key, r.seen = append(r.key[:0], key...), true
		r.send(next)
		next(e)
		return nil
	}
	if r.n > 0 && e.Captured-r.first > int64(c.window) {
		r.send(next)
	}
	count, before := e.Count, e.Before
	if r.n == 0 {
		r.first, r.since = e.Captured, c.now()
	} else {
		count, before = count+r.held.Count, r.held.Before
	}
	// The last one is kept, so that times go on as they were written.
	r.held.copyFrom(e)
	r.held.Count, r.held.Before = count, before
	r.n++
	return nil
}

// send sends on what is held.
func (r *repeats) send(next func(*Event)) {
	if r.n == 0 {
		return
	}
	if r.n > 1 {
		_ = r.held.Set(RepeatedField, Value{Number, itoa(r.n)}) // beyond the bound the record still goes on
	}
	r.n = 0
	next(&r.held)
}

func (c *collapsing) flush(now time.Time, all bool, next func(*Event)) {
	for s := range c.streams {
		if r := &c.streams[s]; r.n > 0 && (all || now.Sub(r.since) >= c.window) {
			r.send(next)
		}
	}
}

func (c *collapsing) release(stream record.Stream, next func(*Event)) {
	c.streams[stream].seen = false
	c.streams[stream].send(next)
}

func (c *collapsing) oldest(stream record.Stream) *Event {
	if r := &c.streams[stream]; r.n > 0 {
		return &r.held
	}
	return nil
}
