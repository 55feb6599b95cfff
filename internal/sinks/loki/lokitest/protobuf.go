package lokitest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// decodeProtobuf reads a logproto.PushRequest.
func (d *decoder) decodeProtobuf(raw []byte) error {
	for m := (message{rest: raw}); ; {
		number, value, err := m.next()
		if err != nil {
			return fmt.Errorf("push: %w", err)
		}
		switch number {
		case 0:
			return nil
		case 1:
			if err := d.decodeStream(value); err != nil {
				return fmt.Errorf("stream %d: %w", len(d.streams)-1, err)
			}
		default:
			return fmt.Errorf("push: field %d is unknown", number)
		}
	}
}

func (d *decoder) decodeStream(raw []byte) error {
	s := d.nextStream()
	for m := (message{rest: raw}); ; {
		number, value, err := m.next()
		if err != nil {
			return err
		}
		switch {
		case number == 0 && s.labels == "":
			return errors.New("has no labels")
		case number == 0:
			s.linkMetadata()
			return nil
		case number == 1 && s.labels == "":
			if s.labels, err = d.internLabels(value); err != nil {
				return err
			}
		case number == 2 && s.labels != "":
			if err := d.decodeEntry(s, value); err != nil {
				return fmt.Errorf("%s: entry %d: %w", s.labels, len(s.entries)-1, err)
			}
		default:
			return fmt.Errorf("field %d is unknown, or not in its place", number)
		}
	}
}

// linkMetadata points the entries to their metadata, once the slice that holds
// it does not move any more.
func (s *stream) linkMetadata() {
	at := 0
	for i := range s.entries {
		n := len(s.entries[i].metadata)
		s.entries[i].metadata = s.pairs[at : at+n : at+n]
		at += n
	}
}

// decodeEntry adds an entry to s. Until linkMetadata, only the length of its
// metadata means something.
func (d *decoder) decodeEntry(s *stream, raw []byte) error {
	s.entries = append(s.entries, entry{})
	e := &s.entries[len(s.entries)-1]
	first := len(s.pairs)
	last := 0
	for m := (message{rest: raw}); ; {
		number, value, err := m.next()
		if err != nil {
			return err
		}
		if number != 0 && (number < last || number == last && number != 3) {
			return fmt.Errorf("field %d is repeated, or not in its place", number)
		}
		last = number
		switch number {
		case 0:
			if e.time == 0 {
				return errors.New("has no time")
			}
			e.metadata = s.pairs[first:]
			return nil
		case 1:
			if e.time, err = decodeTime(value); err != nil {
				return fmt.Errorf("time: %w", err)
			}
		case 2:
			if len(value) == 0 {
				return errors.New("an empty line is not written")
			}
			e.line = value
		case 3:
			pair, err := d.decodePair(value)
			if err != nil {
				return fmt.Errorf("metadata: %w", err)
			}
			s.pairs = append(s.pairs, pair)
		default:
			return fmt.Errorf("field %d is unknown", number)
		}
	}
}

// decodeTime reads a google.protobuf.Timestamp. Zero stands for none.
func decodeTime(raw []byte) (int64, error) {
	var seconds, nanos uint64
	last := uint64(0)
	for len(raw) > 0 {
		tag, n, err := uvarint(raw)
		if err != nil {
			return 0, err
		}
		raw = raw[n:]
		number := tag >> 3
		if tag&7 != 0 || number <= last || number > 2 {
			return 0, fmt.Errorf("tag %#x is unknown, or not in its place", tag)
		}
		last = number
		value, n, err := uvarint(raw)
		if err != nil {
			return 0, err
		}
		raw = raw[n:]
		if value == 0 {
			return 0, errors.New("a zero is not written")
		}
		if number == 1 {
			seconds = value
		} else {
			nanos = value
		}
	}
	const limit = math.MaxInt64/1_000_000_000 - 1
	if s := int64(seconds); s > limit || s < -limit {
		return 0, fmt.Errorf("%d seconds are beyond what nanoseconds can count", s)
	}
	if nanos >= 1e9 {
		return 0, fmt.Errorf("%d nanoseconds are a second or more", nanos)
	}
	return int64(seconds)*1e9 + int64(nanos), nil
}

// decodePair reads a logproto.LabelPairAdapter.
func (d *decoder) decodePair(raw []byte) (Pair, error) {
	var p Pair
	last := 0
	for m := (message{rest: raw}); ; {
		number, value, err := m.next()
		if err != nil {
			return p, err
		}
		if number == 0 {
			return p, nil
		}
		if number <= last || number > 2 {
			return p, fmt.Errorf("field %d is unknown, or not in its place", number)
		}
		last = number
		if number == 1 {
			p.Name = d.intern(value)
		} else {
			p.Value = d.intern(value)
		}
	}
}

// message reads the fields of a message all of whose fields are bytes.
type message struct{ rest []byte }

// next returns the next field, with number 0 at the end.
func (m *message) next() (number int, value []byte, err error) {
	if len(m.rest) == 0 {
		return 0, nil, nil
	}
	tag, n, err := uvarint(m.rest)
	if err != nil {
		return 0, nil, err
	}
	m.rest = m.rest[n:]
	if tag&7 != 2 || tag>>3 == 0 || tag>>3 > 15 {
		return 0, nil, fmt.Errorf("tag %#x is none of a field of bytes", tag)
	}
	size, n, err := uvarint(m.rest)
	if err != nil {
		return 0, nil, err
	}
	m.rest = m.rest[n:]
	if size > uint64(len(m.rest)) {
		return 0, nil, fmt.Errorf("field %d has %d bytes, and %d are left", tag>>3, size, len(m.rest))
	}
	value, m.rest = m.rest[:size:size], m.rest[size:]
	return int(tag >> 3), value, nil
}

// uvarint reads a varint, which must be written in as few bytes as possible.
func uvarint(b []byte) (value uint64, n int, err error) {
	value, n = binary.Uvarint(b)
	if n <= 0 {
		return 0, 0, errors.New("a number is cut off, or too large")
	}
	if n > 1 && b[n-1] == 0 {
		return 0, 0, errors.New("a number is longer than it must be")
	}
	return value, n, nil
}
