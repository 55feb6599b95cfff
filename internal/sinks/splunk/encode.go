package splunk

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"

	"log_capturer/internal/delivery"
	"log_capturer/internal/httpclient"
	"log_capturer/internal/jsondoc"
	"log_capturer/internal/record"
	"log_capturer/internal/reuse"
	"log_capturer/internal/template"
)

// fixed is what all records of one stream of a source have in common.
type fixed struct {
	// query is the metadata of a raw request, as a query.
	query string
	// before and fields are the encoded parts of an event: the members before
	// its time, and those of the object "fields".
	before, fields []byte
}

// shape makes fixed parts. It is immutable.
type shape struct {
	metadata []member
	fields   []member
}

type member struct {
	name string
	tmpl *template.Template
}

func newShape(o Options) (*shape, error) {
	s := &shape{}
	add := func(list *[]member, what, name, text string) error {
		tmpl, err := template.Compile(text, nil)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if tmpl.UsesTime() {
			return fmt.Errorf("%s: %q depends on the time of a record, which Splunk keeps anyway", what, text)
		}
		*list = append(*list, member{name, tmpl})
		return nil
	}
	for _, m := range [][2]string{{"host", o.Host}, {"source", o.Source}, {"sourcetype", o.SourceType}, {"index", o.Index}} {
		if err := add(&s.metadata, m[0], m[0], m[1]); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.Fields)) {
		if name == "" || slices.Contains(marks, name) {
			return nil, fmt.Errorf("field %q cannot have this name: rename it", name)
		}
		if err := add(&s.fields, "field "+name, name, o.Fields[name]); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// marks are the fields that say what is unusual about a record.
var marks = []string{"cut", "continued", "unterminated", "line_base64"}

func (s *shape) make(src *record.Source, stream record.Stream) *fixed {
	f := &fixed{}
	query := url.Values{}
	for _, m := range s.metadata {
		value := m.tmpl.Append(nil, src, stream, 0)
		if len(value) == 0 {
			continue
		}
		query.Set(m.name, string(bytes.ToValidUTF8(value, []byte("\uFFFD"))))
		f.before = appendMember(f.before, m.name, value)
		f.before = append(f.before, ',')
	}
	f.query = query.Encode()
	for _, m := range s.fields {
		if value := m.tmpl.Append(nil, src, stream, 0); len(value) > 0 {
			f.fields = appendMember(append(f.fields, ','), m.name, value)
		}
	}
	if len(f.fields) > 0 {
		f.fields = f.fields[1:]
	}
	return f
}

func appendMember(dst []byte, name string, value []byte) []byte {
	dst, _ = jsondoc.AppendString(dst, []byte(name))
	dst = append(dst, ':')
	dst, _ = jsondoc.AppendString(dst, value)
	return dst
}

// scratch is what one encoding needs besides the request's own buffer.
type scratch struct {
	raw  reuse.Buffer
	gzip httpclient.Gzip
}

// encode writes the request into req.Body.
func (s *Sink) encode(req *delivery.Request) error {
	sc := s.scratch.Get().(*scratch)
	defer s.scratch.Put(sc)
	dst := req.Body[:0]
	if s.gzip {
		dst = sc.raw.Take()
	}
	for i := range req.Parts {
		p := &req.Parts[i]
		for j := p.From; j < p.To; j++ {
			r := &p.Batch.Records[j]
			if !p.Streams.Has(r.Stream) {
				continue
			}
			if s.raw {
				dst = append(append(dst, p.Batch.Line(r)...), '\n')
			} else {
				dst = appendEvent(dst, r, p.Batch.Line(r), p.Batch.Derivation(r), s.fixed.Of(p.Batch.Source, r.Stream))
			}
		}
	}
	if s.raw && len(bytes.TrimRight(dst, "\n")) == 0 {
		// Code 5, "no data": nothing of it would be indexed.
		return errors.New("the raw endpoint takes no empty lines")
	}
	if !s.gzip {
		req.Body = dst
		return nil
	}
	sc.raw.Keep(dst)
	var err error
	if req.Body, err = sc.gzip.Append(req.Body[:0], dst); err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	return nil
}

// appendEvent appends an event. An empty line, which HEC refuses as an event
// (code 13), is one of a single space.
func appendEvent(dst []byte, r *record.Record, line []byte, d *record.Derivation, f *fixed) []byte {
	dst = append(dst, '{')
	dst = append(dst, f.before...)
	dst = append(dst, `"time":`...)
	dst = jsondoc.AppendEpoch(dst, r.Time)
	dst = append(dst, `,"event":`...)
	valid := true
	if len(line) == 0 {
		dst = append(dst, `" "`...)
	} else {
		dst, valid = jsondoc.AppendString(dst, line)
	}
	if len(f.fields) > 0 || r.Flags != 0 || !valid || d != nil {
		dst = append(dst, `,"fields":{`...)
		dst = append(dst, f.fields...)
		dst = appendMarks(dst, r.Flags)
		dst = appendDerivation(dst, d)
		if !valid {
			if dst[len(dst)-1] != '{' {
				dst = append(dst, ',')
			}
			dst = append(dst, `"line_base64":"`...)
			dst = jsondoc.AppendBase64(dst, line)
			dst = append(dst, '"')
		}
		dst = append(dst, '}')
	}
	return append(dst, '}', '\n')
}

// appendMarks appends the flags as texts: HEC takes nothing else in fields.
func appendMarks(dst []byte, flags record.Flags) []byte {
	for i, flag := range []record.Flags{record.Cut, record.Continued, record.Unterminated} {
		if flags&flag == 0 {
			continue
		}
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		dst = append(dst, marks[i]...)
		dst = append(dst, `":"true"`...)
	}
	return dst
}
