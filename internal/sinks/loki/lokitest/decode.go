package lokitest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/klauspost/compress/snappy"
)

// decoder reads pushes. It is used again, so that counting millions of entries
// costs little more than reading their bytes.
type decoder struct {
	raw     []byte
	streams []stream
	// labels are the label strings that were found valid, so that each is
	// checked and allocated once.
	labels map[string]string
	// strings are names and values of metadata, likewise.
	strings map[string]string
}

// stream is a decoded stream. Lines point into the decoder's buffer.
type stream struct {
	labels  string
	entries []entry
	// pairs holds the entries' metadata.
	pairs []Pair
}

type entry struct {
	time     int64
	line     []byte
	metadata []Pair
}

// maxPushBytes bounds what a push may be unpacked to.
const maxPushBytes = 256 << 20

// maxInterned bounds the strings that a decoder remembers.
const maxInterned = 100_000

func newDecoder() *decoder {
	return &decoder{labels: map[string]string{}, strings: map[string]string{}}
}

// Decode reads a push with the given header and body, and returns its entries,
// or the first mistake in it.
func Decode(h http.Header, body []byte) ([]Entry, error) {
	d := newDecoder()
	if _, err := d.decode(h, body); err != nil {
		return nil, err
	}
	var entries []Entry
	for i := range d.streams {
		for j := range d.streams[i].entries {
			entries = append(entries, d.streams[i].entries[j].keep(h.Get("X-Scope-OrgID"), d.streams[i].labels))
		}
	}
	return entries, nil
}

// keep returns the entry with memory of its own.
func (e *entry) keep(tenant, labels string) Entry {
	return Entry{Tenant: tenant, Labels: labels, Time: e.time, Line: string(e.line), Metadata: append([]Pair(nil), e.metadata...)}
}

// decode reads a push. An error is a mistake of the client, to be answered with
// status.
func (d *decoder) decode(h http.Header, body []byte) (status int, err error) {
	d.streams = d.streams[:0]
	encoding := h.Get("Content-Encoding")
	switch media := mediaType(h); {
	case media == "application/x-protobuf" && (encoding == "" || encoding == "snappy"):
		err = d.decodeSnappy(body)
	case media == "application/json" && encoding == "":
		err = d.decodeJSON(body)
	case media == "application/json" && encoding == "gzip":
		if body, err = gunzip(body); err == nil {
			err = d.decodeJSON(body)
		}
	default:
		return http.StatusUnsupportedMediaType, fmt.Errorf("content type %q with encoding %q is not one of the push API", h.Values("Content-Type"), encoding)
	}
	if err == nil {
		err = d.checkStreams()
	}
	if err != nil {
		return http.StatusBadRequest, err
	}
	return 0, nil
}

func (d *decoder) decodeSnappy(body []byte) error {
	size, err := snappy.DecodedLen(body)
	if err != nil {
		return fmt.Errorf("snappy: %w", err)
	}
	if size > maxPushBytes {
		return fmt.Errorf("snappy: %d bytes are too many", size)
	}
	if cap(d.raw) < size {
		d.raw = make([]byte, size)
	}
	raw, err := snappy.Decode(d.raw[:cap(d.raw)], body)
	if err != nil {
		return fmt.Errorf("snappy: %w", err)
	}
	return d.decodeProtobuf(raw)
}

func gunzip(body []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(z, maxPushBytes+1))
	if err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	if len(raw) > maxPushBytes {
		return nil, errors.New("gzip: too many bytes")
	}
	return raw, nil
}

// nextStream returns room for the next stream, with the slices that an earlier
// push left there.
func (d *decoder) nextStream() *stream {
	if len(d.streams) < cap(d.streams) {
		d.streams = d.streams[:len(d.streams)+1]
	} else {
		d.streams = append(d.streams, stream{})
	}
	s := &d.streams[len(d.streams)-1]
	s.labels, s.entries, s.pairs = "", s.entries[:0], s.pairs[:0]
	return s
}

// checkStreams checks what does not depend on the encoding.
func (d *decoder) checkStreams() error {
	if len(d.streams) == 0 {
		return errNoStreams
	}
	for i := range d.streams {
		s := &d.streams[i]
		if len(s.entries) == 0 {
			return fmt.Errorf("stream %s has no entries", s.labels)
		}
		for j := range d.streams[:i] {
			if d.streams[j].labels == s.labels {
				return fmt.Errorf("stream %s stands twice in one push", s.labels)
			}
		}
		for j := range s.entries {
			if err := checkMetadata(s.entries[j].metadata); err != nil {
				return fmt.Errorf("stream %s: entry %d: %w", s.labels, j, err)
			}
		}
	}
	return nil
}

// intern returns b as a string that is allocated once.
func (d *decoder) intern(b []byte) string {
	if s, ok := d.strings[string(b)]; ok {
		return s
	}
	if len(d.strings) >= maxInterned {
		clear(d.strings)
	}
	s := string(b)
	d.strings[s] = s
	return s
}

// internLabels returns b as a string that was found to be valid labels.
func (d *decoder) internLabels(b []byte) (string, error) {
	if s, ok := d.labels[string(b)]; ok {
		return s, nil
	}
	s := string(b)
	if err := checkLabels(s); err != nil {
		return "", fmt.Errorf("labels %s: %w", strconv.Quote(s), err)
	}
	if len(d.labels) >= maxInterned {
		clear(d.labels)
	}
	d.labels[s] = s
	return s, nil
}

// errNoStreams is what a push without streams is answered with. Clients send one
// to see whether pushes would be taken.
var errNoStreams = errors.New("the push has no streams")
