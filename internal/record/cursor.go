package record

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Anchor is where one stream's reading stands, exact to the record: it
// describes the last record read.
//
// The engine's timestamps alone cannot say that. Two lines may share a
// nanosecond, and the clock may step back, so the anchor also holds how many
// records of an unbroken run had that time, and a hash of the last line.
type Anchor struct {
	// Seq is the number of records read from this stream so far. Reading again
	// from an anchor numbers the records that follow it the same way, so of
	// two anchors of one stream the larger Seq is the later one.
	Seq uint64
	// AsOf is the number of records of all the source's streams up to which
	// the anchor holds: none of the records between the anchor's own and that
	// number belongs to its stream.
	AsOf uint64
	// Last says that the anchor's record is the AsOf-th of the source. Where
	// all anchors of a cursor have the same AsOf, finding the one that is Last
	// finds the place for every stream.
	Last bool
	// Time is the last record's time in Unix nanoseconds. Zero together with
	// Count zero means that nothing was read yet.
	Time int64
	// Count is the last record's Ordinal. Zero with a Time that is not zero
	// means a start by time: records after Time are wanted and none was read.
	Count uint32
	// Hash is LineHash of the last record's line.
	Hash uint64
}

// Cursor is where a source's reading stands: an anchor for each stream, and for
// a source that is read from files a place from which nothing is missed.
type Cursor struct {
	Streams [NumStreams]Anchor
	// Place is zero when the source was never read from files.
	Place Place
}

// IsZero reports whether nothing was read of any stream, and no start by time
// was set.
func (c Cursor) IsZero() bool { return c == Cursor{} }

// Total returns the number of records of all streams up to the cursor.
func (c Cursor) Total() uint64 {
	var total uint64
	for _, a := range c.Streams {
		total = max(total, a.AsOf)
	}
	return total
}

// Advance moves the anchors of the given streams to those of to, where these
// are later. The anchor of another stream moves too if no record lies between
// the two, since it then describes the same record. No anchor moves back.
//
// The place moves to that of to only when the anchors have come as far as it in
// every stream: while one stream is behind, an older place is kept.
func (c *Cursor) Advance(to Cursor, streams StreamSet) {
	for s := range c.Streams {
		own, next := &c.Streams[s], to.Streams[s]
		if next.AsOf > own.AsOf && (next.Seq == own.Seq || next.Seq > own.Seq && streams.Has(Stream(s))) {
			*own = next
		}
	}
	if !to.Place.IsZero() && c.Place.Before(to.Place) && to.Place.bounds(c) {
		c.Place = to.Place
	}
}

// Reaches reports whether c is at or past other in every stream.
func (c Cursor) Reaches(other Cursor) bool {
	for s := range c.Streams {
		if c.Streams[s].Seq < other.Streams[s].Seq {
			return false
		}
	}
	return true
}

// The versions, which are the first byte of an encoded cursor. The first one had
// no place.
const (
	cursorVersionAnchors = 1
	cursorVersion        = 2
)

// AppendBinary appends the cursor's encoding to b: a version byte, then for
// each stream Seq, AsOf, Last, Time, Count and Hash, then the place's fields in
// their order, integers in little-endian order. It never fails.
func (c Cursor) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, cursorVersion)
	for _, a := range c.Streams {
		b = binary.LittleEndian.AppendUint64(b, a.Seq)
		b = binary.LittleEndian.AppendUint64(b, a.AsOf)
		last := byte(0)
		if a.Last {
			last = 1
		}
		b = append(b, last)
		b = binary.LittleEndian.AppendUint64(b, uint64(a.Time))
		b = binary.LittleEndian.AppendUint32(b, a.Count)
		b = binary.LittleEndian.AppendUint64(b, a.Hash)
	}
	return c.Place.appendBinary(b), nil
}

const (
	anchorSize  = 8 + 8 + 1 + 8 + 4 + 8
	anchorsSize = 1 + NumStreams*anchorSize
	cursorSize  = anchorsSize + placeSize
)

// UnmarshalBinary decodes what AppendBinary wrote, in this build or in one that
// knew no places.
func (c *Cursor) UnmarshalBinary(b []byte) error {
	if len(b) == 0 {
		return errors.New("decode cursor: empty")
	}
	version, size := b[0], cursorSize
	switch version {
	case cursorVersion:
	case cursorVersionAnchors:
		size = anchorsSize
	default:
		return fmt.Errorf("decode cursor: version %d is not known to this build", version)
	}
	if len(b) != size {
		return fmt.Errorf("decode cursor: %d bytes, want %d", len(b), size)
	}
	*c = Cursor{}
	b = b[1:]
	for s := range c.Streams {
		c.Streams[s] = Anchor{
			Seq:   binary.LittleEndian.Uint64(b),
			AsOf:  binary.LittleEndian.Uint64(b[8:]),
			Last:  b[16] != 0,
			Time:  int64(binary.LittleEndian.Uint64(b[17:])),
			Count: binary.LittleEndian.Uint32(b[25:]),
			Hash:  binary.LittleEndian.Uint64(b[29:]),
		}
		b = b[anchorSize:]
	}
	if version == cursorVersion {
		c.Place.unmarshal(b)
	}
	return nil
}

// LineHash returns the FNV-1a hash of a line's bytes. It is kept in positions
// files and must not change.
func LineHash(line []byte) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for _, b := range line {
		h = (h ^ uint64(b)) * prime
	}
	return h
}
