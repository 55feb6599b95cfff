// Package jsondoc writes records as JSON documents, one object each, for the
// sinks whose destinations take such: in a file, a request, or a message.
//
// It owns what a document looks like: the record's time and line under the names
// that the user gave them, what is known of its source, and marks for what is
// unusual. It promises that
//   - a document is one line of valid JSON, whatever the record holds;
//   - no byte of a line is lost: where a line is not valid UTF-8, which JSON
//     cannot carry, the text has U+FFFD for each bad byte and the exact bytes
//     stand beside it in base64;
//   - writing a record allocates nothing.
//
// What stands around a document (an action line, an envelope) is the sink's.
package jsondoc

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"log_capturer/internal/record"
	"log_capturer/internal/sourcecache"
	"log_capturer/internal/template"
)

// Base64Suffix is what the name of a line has after it where its exact bytes
// stand in base64 (RFC 4648, padded).
const Base64Suffix = "_base64"

// marks are the members that say what is unusual about a record.
var marks = []string{"cut", "continued", "unterminated"}

// Options say what documents look like.
type Options struct {
	// Time and Line are the names of the time and the line. Without a name the
	// time is left out; the line needs one.
	Time, Line string
	// ID is the name of the record's identity, empty to leave it out.
	ID string
	// Fields are the names and templates of everything else. One that turns out
	// empty is left out.
	Fields map[string]string
}

// Shape is what documents look like. It is immutable, and may be used from any
// number of goroutines.
type Shape struct {
	time, line, base64, id []byte // names with what stands around them
	fields                 []field
	sources                *sourcecache.Cache[[]byte]
}

type field struct {
	name string
	tmpl *template.Template
}

// NewShape returns the shape that o describes. Names that are empty or not
// UTF-8, or that two members have, and templates with a mistake are errors.
func NewShape(o Options) (*Shape, error) {
	if o.Line == "" {
		return nil, errors.New("the line has no name")
	}
	s := &Shape{line: name(o.Line), base64: name(o.Line + Base64Suffix)}
	taken := append([]string{o.Line, o.Line + Base64Suffix}, marks...)
	take := func(n string) error {
		if n == "" || !utf8.ValidString(n) {
			return fmt.Errorf("%q is no name for a field", n)
		}
		if slices.Contains(taken, n) {
			return fmt.Errorf("two fields have the name %q: rename one", n)
		}
		taken = append(taken, n)
		return nil
	}
	if slices.Contains(marks, o.Line) {
		return nil, fmt.Errorf("two fields have the name %q: rename one", o.Line)
	}
	if o.Time != "" {
		s.time = name(o.Time)
		if err := take(o.Time); err != nil {
			return nil, err
		}
	}
	if o.ID != "" {
		s.id = name(o.ID)
		if err := take(o.ID); err != nil {
			return nil, err
		}
	}
	for _, n := range slices.Sorted(maps.Keys(o.Fields)) {
		if err := take(n); err != nil {
			return nil, err
		}
		tmpl, err := template.Compile(o.Fields[n], nil)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", n, err)
		}
		if tmpl.UsesTime() {
			return nil, fmt.Errorf("field %s: %q depends on the time of a record, which its document has anyway", n, o.Fields[n])
		}
		s.fields = append(s.fields, field{n, tmpl})
	}
	s.sources = sourcecache.New(s.members)
	return s, nil
}

// name returns a member's name with the quotes and the colon.
func name(s string) []byte {
	b, _ := AppendString(nil, []byte(s))
	return append(b, ':')
}

// members returns the fields of one stream of src, each with a comma before it.
func (s *Shape) members(src *record.Source, stream record.Stream) []byte {
	var b []byte
	for _, f := range s.fields {
		value := f.tmpl.Append(nil, src, stream, 0)
		if len(value) == 0 {
			continue
		}
		b = append(append(b, ','), name(f.name)...)
		b, _ = AppendString(b, value)
	}
	return b
}

// Append appends the document of a record of b, without a newline. The clock
// belongs to the caller; id is the record's identity, and matters only where the
// shape has one.
func (s *Shape) Append(dst []byte, clock *Clock, b *record.Batch, r *record.Record, id []byte) []byte {
	dst = append(dst, '{')
	if s.time != nil {
		dst = append(dst, s.time...)
		dst = append(dst, '"')
		dst = clock.Append(dst, r.Time)
		dst = append(dst, '"', ',')
	}
	if s.id != nil {
		dst = append(dst, s.id...)
		dst = append(dst, '"')
		dst = append(dst, id...)
		dst = append(dst, '"', ',')
	}
	line := b.Line(r)
	dst = append(dst, s.line...)
	dst, valid := AppendString(dst, line)
	if !valid {
		dst = append(append(dst, ','), s.base64...)
		dst = append(dst, '"')
		dst = AppendBase64(dst, line)
		dst = append(dst, '"')
	}
	dst = AppendMarks(dst, r.Flags)
	dst = append(dst, s.sources.Of(b.Source, r.Stream)...)
	return append(dst, '}')
}

// AppendBase64 appends b in base64, as RFC 4648 has it, padded.
func AppendBase64(dst, b []byte) []byte { return base64.StdEncoding.AppendEncode(dst, b) }

// AppendMarks appends a member for each flag, with a comma before it.
func AppendMarks(dst []byte, flags record.Flags) []byte {
	if flags == 0 {
		return dst
	}
	if flags&record.Cut != 0 {
		dst = append(dst, `,"cut":true`...)
	}
	if flags&record.Continued != 0 {
		dst = append(dst, `,"continued":true`...)
	}
	if flags&record.Unterminated != 0 {
		dst = append(dst, `,"unterminated":true`...)
	}
	return dst
}

// HasID reports whether documents hold an identity.
func (s *Shape) HasID() bool { return s.id != nil }

// DefaultFields returns the fields that documents have unless the user says
// otherwise: what is known of a record, under its plain name.
func DefaultFields() map[string]string {
	fields := map[string]string{}
	for _, n := range strings.Fields("container_id container_name image compose_project compose_service file_path host stream") {
		fields[n] = "{" + n + "}"
	}
	return fields
}
