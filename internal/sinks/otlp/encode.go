package otlp

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"log_capturer/internal/delivery"
	"log_capturer/internal/httpclient"
	"log_capturer/internal/identity"
	"log_capturer/internal/record"
	"log_capturer/internal/reuse"
	"log_capturer/internal/template"
)

// The numbers of the fields, from opentelemetry-proto.
const (
	fieldResourceLogs = 1 // of ExportLogsServiceRequest

	fieldResource  = 1 // of ResourceLogs
	fieldScopeLogs = 2

	fieldAttributes = 1 // of Resource

	fieldScope      = 1 // of ScopeLogs
	fieldLogRecords = 2

	fieldScopeName = 1 // of InstrumentationScope

	fieldTime             = 1 // of LogRecord
	fieldSeverityNumber   = 2
	fieldSeverityText     = 3
	fieldBody             = 5
	fieldRecordAttributes = 6
	fieldObservedTime     = 11

	fieldKey   = 1 // of KeyValue
	fieldValue = 2

	fieldString = 1 // of AnyValue
	fieldBool   = 2
	fieldBytes  = 7
)

// Names of attributes; those without a convention begin with the agent's name.
const (
	attrStream       = "log.iostream"
	attrUID          = "log.record.uid"
	attrCut          = "log_capturer.cut"
	attrContinued    = "log_capturer.continued"
	attrUnterminated = "log_capturer.unterminated"
)

// DefaultResource returns the attributes of OpenTelemetry's conventions for what
// is known of a container, and Compose's project and service beside them.
func DefaultResource() map[string]string {
	return map[string]string{
		"container.id":           "{container_id}",
		"container.name":         "{container_name}",
		"container.image.name":   "{image}",
		"host.name":              "{host}",
		"log.file.path":          "{file_path}",
		"docker.compose.project": "{compose_project}",
		"docker.compose.service": "{compose_service}",
	}
}

// resource makes the encoded Resource of a source, as a field of ResourceLogs.
type resource []attribute

type attribute struct {
	name string
	tmpl *template.Template
}

func newResource(texts map[string]string) (resource, error) {
	var r resource
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		if name == "" || !utf8.ValidString(name) {
			return nil, fmt.Errorf("%q is no name for an attribute", name)
		}
		tmpl, err := template.Compile(texts[name], nil)
		if err != nil {
			return nil, fmt.Errorf("attribute %s: %w", name, err)
		}
		if tmpl.UsesTime() || tmpl.UsesStream() {
			return nil, fmt.Errorf("attribute %s: %q depends on more than a record's container", name, texts[name])
		}
		r = append(r, attribute{name, tmpl})
	}
	return r, nil
}

func (r resource) append(dst []byte, src *record.Source) []byte {
	var attributes []byte
	for _, a := range r {
		value := a.tmpl.Append(nil, src, 0, 0)
		if len(value) > 0 {
			text := string([]rune(string(value))) // U+FFFD for what is not UTF-8
			attributes = appendAttribute(attributes, fieldAttributes, a.name, text)
		}
	}
	dst = protowire.AppendTag(dst, fieldResource, protowire.BytesType)
	return protowire.AppendBytes(dst, attributes)
}

// appendAttribute appends a KeyValue with a text.
func appendAttribute(dst []byte, field protowire.Number, key, value string) []byte {
	inner := 1 + protowire.SizeBytes(len(value))
	dst = protowire.AppendTag(dst, field, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(1+protowire.SizeBytes(len(key))+1+protowire.SizeBytes(inner)))
	dst = protowire.AppendTag(dst, fieldKey, protowire.BytesType)
	dst = protowire.AppendString(dst, key)
	dst = protowire.AppendTag(dst, fieldValue, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(inner))
	dst = protowire.AppendTag(dst, fieldString, protowire.BytesType)
	return protowire.AppendString(dst, value)
}

// These are the same in every request.
var (
	scope = appendScope(nil)

	streams = [record.NumStreams][]byte{
		appendAttribute(nil, fieldRecordAttributes, attrStream, record.Stdout.String()),
		appendAttribute(nil, fieldRecordAttributes, attrStream, record.Stderr.String()),
	}
	marks = [...]struct {
		flag    record.Flags
		encoded []byte
	}{
		{record.Cut, appendMark(nil, attrCut)},
		{record.Continued, appendMark(nil, attrContinued)},
		{record.Unterminated, appendMark(nil, attrUnterminated)},
	}
)

func appendScope(dst []byte) []byte {
	inner := protowire.AppendTag(nil, fieldScopeName, protowire.BytesType)
	inner = protowire.AppendString(inner, "log_capturer")
	dst = protowire.AppendTag(dst, fieldScope, protowire.BytesType)
	return protowire.AppendBytes(dst, inner)
}

// appendMark appends a KeyValue that is true.
func appendMark(dst []byte, key string) []byte {
	value := protowire.AppendVarint(protowire.AppendTag(nil, fieldBool, protowire.VarintType), 1)
	inner := protowire.AppendString(protowire.AppendTag(nil, fieldKey, protowire.BytesType), key)
	inner = protowire.AppendBytes(protowire.AppendTag(inner, fieldValue, protowire.BytesType), value)
	dst = protowire.AppendTag(dst, fieldRecordAttributes, protowire.BytesType)
	return protowire.AppendBytes(dst, inner)
}

// scratch is what one encoding needs besides the request's own buffer.
type scratch struct {
	raw reuse.Buffer
	// plans hold, for each record of a part, what the pass that measured it
	// found out.
	plans []plan
	gzip  httpclient.Gzip
}

// plan is what is known of a record before it is written.
type plan struct {
	record   *record.Record
	number   uint64
	size     int // of the LogRecord, without its own length
	severity severity
	derived  []byte           // attributes
	field    protowire.Number // of the body's AnyValue
}

// frameHeader is what stands before a message of gRPC: whether it is
// compressed, and its length in four bytes, the high ones first.
const frameHeader = 5

// encode writes the request into req.Body.
func (s *Sink) encode(req *delivery.Request) error {
	sc := s.scratch.Get().(*scratch)
	defer func() {
		clear(sc.plans[:cap(sc.plans)]) // the next request must not keep this one's batches
		s.scratch.Put(sc)
	}()
	body := req.Body[:0]
	if s.grpc {
		body = append(body, make([]byte, frameHeader)...)
	}
	begin := len(body)
	if s.gzip {
		raw := s.append(sc.raw.Take(), sc, req)
		sc.raw.Keep(raw)
		var err error
		if body, err = sc.gzip.Append(body, raw); err != nil {
			return fmt.Errorf("compress: %w", err)
		}
	} else {
		body = s.append(body, sc, req)
	}
	if s.grpc {
		if len(body)-begin > math.MaxUint32 {
			return fmt.Errorf("a message of %d bytes is more than gRPC takes", len(body)-begin)
		}
		if s.gzip {
			body[0] = 1
		}
		binary.BigEndian.PutUint32(body[1:], uint32(len(body)-begin))
	}
	req.Body = body
	return nil
}

// append appends an ExportLogsServiceRequest, with a ResourceLogs for each part.
func (s *Sink) append(dst []byte, sc *scratch, req *delivery.Request) []byte {
	for i := range req.Parts {
		p := &req.Parts[i]
		records := s.plan(sc, p)
		if records == 0 {
			continue
		}
		resource := s.fixed.Of(p.Batch.Source, 0)
		inner := len(scope) + records
		dst = protowire.AppendTag(dst, fieldResourceLogs, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(len(resource)+1+protowire.SizeBytes(inner)))
		dst = append(dst, resource...)
		dst = protowire.AppendTag(dst, fieldScopeLogs, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(inner))
		dst = append(dst, scope...)
		source := identity.Of(p.Batch.Source)
		for j := range sc.plans {
			dst = s.appendRecord(dst, &sc.plans[j], source, p.Batch.Line(sc.plans[j].record))
		}
	}
	return dst
}

// plan fills sc.plans with the records of a part, and returns how many bytes
// they take as fields of a ScopeLogs.
func (s *Sink) plan(sc *scratch, p *delivery.Part) int {
	sc.plans = sc.plans[:0]
	total := 0
	numbers := identity.Before(p.Batch, p.From)
	for j := p.From; j < p.To; j++ {
		r := &p.Batch.Records[j]
		number := numbers.Next(p.Batch, r)
		if !p.Streams.Has(r.Stream) {
			continue
		}
		line := p.Batch.Line(r)
		pl := plan{record: r, number: number, field: fieldString}
		if !utf8.Valid(line) {
			pl.field = fieldBytes
		}
		body := 1 + protowire.SizeBytes(len(line))
		pl.size = 1 + 8 + 1 + 8 + 1 + protowire.SizeBytes(body) + len(streams[r.Stream])
		d := p.Batch.Derivation(r)
		if d != nil {
			pl.derived = appendDerivation(nil, d)
			pl.size += len(pl.derived)
		}
		if d != nil && d.Level != "" {
			pl.severity = severityOf([]byte(strings.ToUpper(d.Level)))
		} else if s.severity {
			pl.severity = severityOf(line)
		}
		if pl.severity.number > 0 {
			pl.size += 2 + 1 + protowire.SizeBytes(len(pl.severity.text))
		}
		for _, m := range marks {
			if r.Flags&m.flag != 0 {
				pl.size += len(m.encoded)
			}
		}
		if s.uid {
			pl.size += uidSize
		}
		total += 1 + protowire.SizeBytes(pl.size)
		sc.plans = append(sc.plans, pl)
	}
	return total
}

// appendDerivation appends the labels and attributes that a pipeline gave a
// record, as texts.
func appendDerivation(dst []byte, d *record.Derivation) []byte {
	for _, list := range [...][]record.Attribute{d.Labels, d.Attributes} {
		for i := range list {
			dst = appendAttribute(dst, fieldRecordAttributes, list[i].Name, list[i].Value)
		}
	}
	return dst
}

// uidSize is the size of the attribute that holds a record's identity.
var uidSize = len(appendAttribute(nil, fieldRecordAttributes, attrUID, string(make([]byte, identity.Length))))

// appendRecord appends a LogRecord. The time at which it was observed is the
// engine's as well: nobody else has seen the line before.
func (s *Sink) appendRecord(dst []byte, p *plan, source identity.Source, line []byte) []byte {
	r := p.record
	dst = protowire.AppendTag(dst, fieldLogRecords, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(p.size))
	dst = protowire.AppendTag(dst, fieldTime, protowire.Fixed64Type)
	dst = protowire.AppendFixed64(dst, uint64(max(r.Time, 0)))
	if p.severity.number > 0 {
		dst = protowire.AppendTag(dst, fieldSeverityNumber, protowire.VarintType)
		dst = protowire.AppendVarint(dst, uint64(p.severity.number))
		dst = protowire.AppendTag(dst, fieldSeverityText, protowire.BytesType)
		dst = protowire.AppendString(dst, p.severity.text)
	}
	dst = protowire.AppendTag(dst, fieldBody, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(1+protowire.SizeBytes(len(line))))
	dst = protowire.AppendTag(dst, p.field, protowire.BytesType)
	dst = protowire.AppendBytes(dst, line)
	dst = append(dst, streams[r.Stream]...)
	dst = append(dst, p.derived...)
	for _, m := range marks {
		if r.Flags&m.flag != 0 {
			dst = append(dst, m.encoded...)
		}
	}
	if s.uid {
		var id [identity.Length]byte
		dst = appendUID(dst, source.Append(id[:0], r, p.number, line))
	}
	dst = protowire.AppendTag(dst, fieldObservedTime, protowire.Fixed64Type)
	return protowire.AppendFixed64(dst, uint64(max(r.Time, 0)))
}

// appendUID is appendAttribute for an identity.
func appendUID(dst, id []byte) []byte {
	inner := 1 + protowire.SizeBytes(len(id))
	dst = protowire.AppendTag(dst, fieldRecordAttributes, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(1+protowire.SizeBytes(len(attrUID))+1+protowire.SizeBytes(inner)))
	dst = protowire.AppendTag(dst, fieldKey, protowire.BytesType)
	dst = protowire.AppendString(dst, attrUID)
	dst = protowire.AppendTag(dst, fieldValue, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(inner))
	dst = protowire.AppendTag(dst, fieldString, protowire.BytesType)
	return protowire.AppendBytes(dst, id)
}
