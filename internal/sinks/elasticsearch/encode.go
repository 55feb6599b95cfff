package elasticsearch

import (
	"fmt"

	"log_capturer/internal/delivery"
	"log_capturer/internal/httpclient"
	"log_capturer/internal/identity"
	"log_capturer/internal/jsondoc"
	"log_capturer/internal/reuse"
)

// scratch is what one encoding needs besides the request's own buffer.
type scratch struct {
	raw   reuse.Buffer
	clock jsondoc.Clock
	gzip  httpclient.Gzip
}

// encode writes the bulk request into req.Body.
func (s *Sink) encode(req *delivery.Request) error {
	sc := s.scratch.Get().(*scratch)
	defer s.scratch.Put(sc)
	if !s.gzip {
		req.Body = s.append(req.Body[:0], sc, req)
		return nil
	}
	raw := s.append(sc.raw.Take(), sc, req)
	sc.raw.Keep(raw)
	var err error
	if req.Body, err = sc.gzip.Append(req.Body[:0], raw); err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	return nil
}

// append appends an action line and a document for each record.
func (s *Sink) append(dst []byte, sc *scratch, req *delivery.Request) []byte {
	for i := range req.Parts {
		p := &req.Parts[i]
		source, numbers := identity.Of(p.Batch.Source), identity.Before(p.Batch, p.From)
		for j := p.From; j < p.To; j++ {
			r := &p.Batch.Records[j]
			number := numbers.Next(p.Batch, r)
			if !p.Streams.Has(r.Stream) {
				continue
			}
			dst = s.index.append(dst, p.Batch.Source, r)
			begin := len(dst)
			dst = source.Append(dst, r, number, p.Batch.Line(r))
			id := dst[begin:len(dst):len(dst)]
			dst = append(dst, actionEnd...)
			dst = s.shape.Append(dst, &sc.clock, p.Batch, r, id)
			dst = append(dst, '\n')
		}
	}
	return dst
}
