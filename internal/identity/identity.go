// Package identity names records so that a destination can tell a record that
// it was given twice from two records that look alike.
//
// An identity depends on the record alone: on its source, its stream, its number
// there, its time and its bytes. It is the same in each attempt and after each
// restart, since a source that is read again from a cursor numbers its records
// the same way. Where the cursors were lost and the numbers begin anew, time and
// bytes keep other records from being taken for the old ones.
package identity

import (
	"encoding/base64"
	"encoding/binary"
	"strings"

	"github.com/cespare/xxhash/v2"

	"log_capturer/internal/record"
)

// Length is the length of an identity's text, in bytes.
const Length = 32

// Source is the part of an identity that the records of a source share.
type Source uint64

// Of returns the part of src. A container's id is unique by itself; any other
// source is one of its host.
func Of(src *record.Source) Source {
	if strings.HasPrefix(src.Key, "container/") {
		return Source(xxhash.Sum64String(src.Key))
	}
	return Source(xxhash.Sum64String(src.Host + "\x00" + src.Key))
}

// Numbers count a source's records by stream.
type Numbers [record.NumStreams]uint64

// Before returns the numbers of the last records before the n-th of b, counted
// from 0.
func Before(b *record.Batch, n int) Numbers {
	var numbers Numbers
	for s := range numbers {
		numbers[s] = b.From.Streams[s].Seq
	}
	for i := range b.Records[:n] {
		numbers[b.Records[i].Stream]++
	}
	return numbers
}

// Next returns the number of a record that follows those counted.
func (n *Numbers) Next(stream record.Stream) uint64 {
	n[stream]++
	return n[stream]
}

// Append appends the identity of a record to dst: Length bytes of letters,
// digits, '-' and '_' that hold, in base64, the source, the stream and the
// number, and a hash of time and line.
func (s Source) Append(dst []byte, r *record.Record, number uint64, line []byte) []byte {
	var b [24]byte
	binary.BigEndian.PutUint64(b[:], uint64(s))
	binary.BigEndian.PutUint64(b[8:], uint64(r.Stream)<<63|number)
	const spread = 0x9e3779b97f4a7c15
	binary.BigEndian.PutUint64(b[16:], xxhash.Sum64(line)^uint64(r.Time)*spread)
	return base64.RawURLEncoding.AppendEncode(dst, b[:])
}
