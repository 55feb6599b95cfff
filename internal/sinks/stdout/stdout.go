// Package stdout writes records to the standard output, for trying things: to
// see what the agent captures, and in which form, before it goes anywhere.
//
// It owns the form of the output and the waiting for its reader. A record counts
// as delivered when the kernel has taken it: what the reader does with it is the
// reader's. It promises that an attempt which failed in the middle goes on where
// it stopped, so that each line comes once, and that a reader who does not read
// holds up the delivery and not the agent's end.
package stdout

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"log_capturer/internal/delivery"
	"log_capturer/internal/identity"
	"log_capturer/internal/jsondoc"
	"log_capturer/internal/record"
	"log_capturer/internal/sourcecache"
)

// Options configure a Sink.
type Options struct {
	// Text writes lines as they are, each after the name of its source and
	// its stream; without it, documents of JSON.
	Text bool
	// Documents say what a document looks like.
	Documents jsondoc.Options
	// Out is written to.
	Out io.Writer
}

// Sink writes to one stream. It implements delivery.Sink. The delivery may send
// one request at a time.
type Sink struct {
	shape    *jsondoc.Shape
	prefixes *sourcecache.Cache[string] // nil for JSON
	out      io.Writer
	file     *patient // out, where that is a file

	mu      sync.Mutex
	clock   jsondoc.Clock
	id      []byte
	written int // of the request that failed last
}

var _ delivery.Sink = (*Sink)(nil)

// New returns a sink.
func New(o Options) (*Sink, error) {
	s := &Sink{out: o.Out}
	if file, ok := o.Out.(*os.File); ok {
		s.file = &patient{file: file}
	}
	if o.Text {
		s.prefixes = sourcecache.New(prefix)
		return s, nil
	}
	var err error
	s.shape, err = jsondoc.NewShape(o.Documents)
	return s, err
}

// Send writes what of req was not written yet.
func (s *Sink) Send(ctx context.Context, req *delivery.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if !req.Encoded {
		req.Body, req.Encoded, s.written = s.encode(req), true, 0
	}
	var n int
	var err error
	if s.file != nil {
		n, err = s.file.write(ctx, req.Body[s.written:])
	} else {
		n, err = s.out.Write(req.Body[s.written:])
	}
	s.written += n
	if err == nil && s.written < len(req.Body) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("write to the standard output: %w", err)
	}
	return nil
}

func (s *Sink) encode(req *delivery.Request) []byte {
	dst := req.Body[:0]
	for i := range req.Parts {
		p := &req.Parts[i]
		source, numbers := identity.Of(p.Batch.Source), identity.Before(p.Batch, p.From)
		for j := p.From; j < p.To; j++ {
			r := &p.Batch.Records[j]
			number := numbers.Next(r.Stream)
			if !p.Streams.Has(r.Stream) {
				continue
			}
			if s.prefixes != nil {
				dst = append(dst, s.prefixes.Of(p.Batch.Source, r.Stream)...)
				dst = append(dst, p.Batch.Line(r)...)
			} else {
				if s.shape.HasID() {
					s.id = source.Append(s.id[:0], r, number, p.Batch.Line(r))
				}
				dst = s.shape.Append(dst, &s.clock, p.Batch, r, s.id)
			}
			dst = append(dst, '\n')
		}
	}
	return dst
}

// prefix returns what stands before a line in text.
func prefix(src *record.Source, stream record.Stream) string {
	return src.Name() + " " + stream.String() + " | "
}
