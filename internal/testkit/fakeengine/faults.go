package fakeengine

import (
	"net/http"
)

// Fault is a way for a follow stream to break off.
type Fault int

const (
	// End ends the stream as if the container had stopped.
	End Fault = iota
	// Reset breaks the connection.
	Reset
	// TornFrame ends the stream in the middle of a frame's payload; in a TTY's
	// stream, in the middle of a timestamp.
	TornFrame
	// TornHeader ends the stream in the middle of a frame's header.
	TornHeader
	// BadHeader sends eight bytes that are no frame's header, and ends.
	BadHeader
	// EngineError sends an error of the engine in a frame of its own kind, and
	// ends, as for a log file that can't be decoded.
	EngineError
)

// fault is a Fault and when it strikes.
type fault struct {
	kind  Fault
	after int
}

// FailNext makes the next follow stream of the container that is opened break
// off after a number of entries. Several calls are for several streams, in
// order.
func (c *Container) FailNext(kind Fault, after int) {
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	c.faults = append(c.faults, fault{kind, after})
}

// Break breaks the container's open follow streams now. They deliver nothing
// more before.
func (c *Container) Break(kind Fault) {
	c.update(func() {
		for s := range c.streams {
			s.fault, s.countdown, s.stalled = &fault{kind, 0}, 0, false
		}
	})
}

// Stall makes the container's open follow streams deliver nothing more, and
// stay open until their clients close them. Streams that are opened later are
// well.
func (c *Container) Stall() {
	c.update(func() {
		for s := range c.streams {
			s.stalled = true
		}
	})
}

// LoseEvents makes the engine drop what it has to tell from now on, until it is
// called with false.
func (e *Engine) LoseEvents(lose bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.loseEvents = lose
}

// CutEvents ends the open streams of events.
func (e *Engine) CutEvents() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for l := range e.listeners {
		l.cut = true
		l.notify()
	}
}

// apply carries out a fault on a stream.
func (f *fault) apply(w http.ResponseWriter, tty bool) {
	const torn = "2026-01-02T03:04:05.0"
	switch f.kind {
	case Reset:
		panic(http.ErrAbortHandler)
	case TornFrame:
		if tty {
			w.Write([]byte(torn))
			return
		}
		whole := frame(frameStdout, make([]byte, 100))
		copy(whole[8:], torn)
		w.Write(whole[:8+len(torn)])
	case TornHeader:
		w.Write(frame(frameStdout, nil)[:3])
	case BadHeader:
		w.Write([]byte("\x09\x01\x02\x03\xff\xff\xff\xff"))
	case EngineError:
		message := []byte("Error grabbing logs: invalid character '\\x00' looking for beginning of value\n")
		if tty {
			w.Write(message)
			return
		}
		w.Write(frame(frameSystemError, message))
	}
}
