package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/klauspost/compress/s2"

	"log_capturer/internal/record"
)

// A payload is the S2 block (github.com/klauspost/compress/s2) of a batch.
// Integers are uvarints where nothing else is said, a text is its length and its
// bytes:
//
//	version u8
//	source: key, host, file path, namespace, pod, pod uid, container id, container
//	        name, image, compose project, compose service, number of labels, name
//	        and value of each
//	start of each stream: the index of the first record that the sink wants
//	from, to: length and bytes of record.Cursor's own encoding
//	number of records, then of each:
//	        stream u8, flags u8, time varint (less that of the record before),
//	        ordinal, length
//	the lines of all records, one after the other
const payloadVersion = 1

// codec encodes and decodes payloads. It keeps buffers, and is used by one
// goroutine at a time.
type codec struct {
	plain, packed []byte
	// sources holds the sources that were decoded, so that all entries of one
	// share it.
	sources map[string]*record.Source
}

// maxSources bounds the sources that are kept.
const maxSources = 1024

// keep lets go of a buffer that an unusual batch has made large.
func keep(b []byte) []byte {
	if cap(b) > 4<<20 {
		return nil
	}
	return b[:0]
}

// encode returns the payload of a batch, valid until the next call.
func (c *codec) encode(b *record.Batch, start [record.NumStreams]int) []byte {
	p := append(keep(c.plain), payloadVersion)
	p = appendSource(p, b.Source)
	for _, n := range start {
		p = binary.AppendUvarint(p, uint64(n))
	}
	for _, cursor := range []record.Cursor{b.From, b.To} {
		encoded, _ := cursor.AppendBinary(nil) // never fails
		p = appendBytes(p, encoded)
	}
	p = binary.AppendUvarint(p, uint64(len(b.Records)))
	var before int64
	for i := range b.Records {
		r := &b.Records[i]
		p = append(p, byte(r.Stream), byte(r.Flags))
		p = binary.AppendVarint(p, r.Time-before)
		p = binary.AppendUvarint(p, uint64(r.Ordinal))
		p = binary.AppendUvarint(p, uint64(r.Length))
		before = r.Time
	}
	for i := range b.Records {
		p = append(p, b.Line(&b.Records[i])...)
	}
	c.plain = p
	packed := keep(c.packed)
	if need := s2.MaxEncodedLen(len(p)); cap(packed) < need {
		packed = make([]byte, 0, need)
	}
	c.packed = s2.Encode(packed[:cap(packed)], p)
	return c.packed
}

func appendBytes(b, text []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

func appendSource(b []byte, src *record.Source) []byte {
	text := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	for _, s := range []string{
		src.Key, src.Host, src.FilePath, src.Namespace, src.Pod, src.PodUID,
		src.ContainerID, src.ContainerName, src.Image, src.ComposeProject, src.ComposeService,
	} {
		text(s)
	}
	b = binary.AppendUvarint(b, uint64(len(src.Labels)))
	for _, name := range slices.Sorted(maps.Keys(src.Labels)) {
		text(name)
		text(src.Labels[name])
	}
	return b
}

// decode returns the batch of a payload, held once, and its start.
func (c *codec) decode(payload []byte) (*record.Batch, [record.NumStreams]int, error) {
	var start [record.NumStreams]int
	size, err := s2.DecodedLen(payload)
	if err != nil {
		return nil, start, fmt.Errorf("decode entry: %w", err)
	}
	plain := keep(c.plain)
	if cap(plain) < size {
		plain = make([]byte, size)
	}
	if c.plain, err = s2.Decode(plain[:cap(plain)], payload); err != nil {
		return nil, start, fmt.Errorf("decode entry: %w", err)
	}
	r := &reader{b: c.plain}
	if v := r.byte(); v != payloadVersion {
		return nil, start, fmt.Errorf("decode entry: version %d: %w", v, errVersion)
	}
	src := c.source(r)
	for s := range start {
		start[s] = int(r.uvarint())
	}
	var cursors [2]record.Cursor
	for i := range cursors {
		if err := cursors[i].UnmarshalBinary(r.bytes(r.uvarint())); err != nil {
			return nil, start, fmt.Errorf("decode entry: %w", err)
		}
	}
	n := r.uvarint()
	if r.failed || n > uint64(len(r.b)) {
		return nil, start, errTruncated
	}
	records, total := make([]record.Record, n), uint64(0)
	var before int64
	for i := range records {
		rec := record.Record{Stream: record.Stream(r.byte()), Flags: record.Flags(r.byte())}
		rec.Time = before + r.varint()
		rec.Ordinal, rec.Length = uint32(r.uvarint()), uint32(r.uvarint())
		if rec.Stream >= record.NumStreams {
			return nil, start, fmt.Errorf("decode entry: stream %d", rec.Stream)
		}
		before, total = rec.Time, total+uint64(rec.Length)
		records[i] = rec
	}
	if r.failed || total != uint64(len(r.b)) {
		return nil, start, errTruncated
	}
	b := record.NewBatch(src, len(r.b))
	for _, rec := range records {
		b.Append(rec, r.bytes(uint64(rec.Length)))
	}
	b.From, b.To = cursors[0], cursors[1]
	return b, start, nil
}

var errTruncated = errors.New("decode entry: it ends too early")

// source decodes the source, the same one for the same bytes.
func (c *codec) source(r *reader) *record.Source {
	encoded := r.b
	src := &record.Source{}
	for _, s := range []*string{
		&src.Key, &src.Host, &src.FilePath, &src.Namespace, &src.Pod, &src.PodUID,
		&src.ContainerID, &src.ContainerName, &src.Image, &src.ComposeProject, &src.ComposeService,
	} {
		*s = string(r.bytes(r.uvarint()))
	}
	if n := r.uvarint(); n > 0 && n <= uint64(len(r.b)) {
		src.Labels = make(map[string]string, n)
		for range n {
			name := string(r.bytes(r.uvarint()))
			src.Labels[name] = string(r.bytes(r.uvarint()))
		}
	}
	encoded = encoded[:len(encoded)-len(r.b)]
	if known := c.sources[string(encoded)]; known != nil {
		return known
	}
	if c.sources == nil || len(c.sources) >= maxSources {
		c.sources = map[string]*record.Source{}
	}
	c.sources[string(encoded)] = src
	return src
}

// reader takes values off a payload. After the end it returns zeros and has
// failed.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.failed, r.b = true, nil
		return nil
	}
	part := r.b[:n:n]
	r.b = r.b[n:]
	return part
}

func (r *reader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.failed, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.failed, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}
