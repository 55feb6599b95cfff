package deliverytest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"log_capturer/internal/delivery"
	"log_capturer/internal/record"
)

// Record is a record as a destination sees it.
type Record struct {
	Source string
	Stream record.Stream
	Line   string
}

// Attempt is one call of Send.
type Attempt struct {
	// Number counts the attempts from 1.
	Number int
	// At is when it was made.
	At    time.Time
	Group string
	// Records are a copy of what it is to deliver.
	Records []Record
	// Request is what Send got. It is valid during the call only.
	Request *delivery.Request
}

// Lines returns the attempt's lines.
func (a Attempt) Lines() []string { return Lines(a.Records) }

// Lines returns the records' lines.
func Lines(records []Record) []string {
	var lines []string
	for _, r := range records {
		lines = append(lines, r.Line)
	}
	return lines
}

// Destination is a delivery.Sink that answers as it is told, and takes what its
// answer says.
type Destination struct {
	// Answer says what Send returns; nil means that it always succeeds. It is
	// called from several goroutines at once.
	Answer func(context.Context, Attempt) error

	mu       sync.Mutex
	attempts []Attempt
	taken    []Record
}

// Send implements delivery.Sink.
func (d *Destination) Send(ctx context.Context, req *delivery.Request) error {
	a := Attempt{At: time.Now(), Group: req.Group, Request: req}
	for b, r := range req.All() {
		a.Records = append(a.Records, Record{b.Source.Key, r.Stream, string(b.Line(r))})
	}
	d.mu.Lock()
	a.Number = len(d.attempts) + 1
	d.attempts = append(d.attempts, a)
	d.mu.Unlock()

	var err error
	if d.Answer != nil {
		err = d.Answer(ctx, a)
	}
	partial, isPartial := errors.AsType[*delivery.PartialError](err)
	if err != nil && !isPartial {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, r := range a.Records {
		if !isPartial || !slices.ContainsFunc(partial.Refused, func(f delivery.Refusal) bool { return f.Index == i }) {
			d.taken = append(d.taken, r)
		}
	}
	return err
}

// Attempts returns all attempts so far.
func (d *Destination) Attempts() []Attempt {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.attempts)
}

// Taken returns what it took so far, in order.
func (d *Destination) Taken() []Record {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.taken)
}

// TakenOf returns the lines that it took of one stream of a source, in order.
func (d *Destination) TakenOf(source string, stream record.Stream) []string {
	return Lines(slices.DeleteFunc(d.Taken(), func(r Record) bool { return r.Source != source || r.Stream != stream }))
}

// TakenLines returns the lines that it took, in order.
func (d *Destination) TakenLines() []string { return Lines(d.Taken()) }
