package loki

import (
	"encoding/binary"
	"math/bits"
	"strconv"

	"log_capturer/internal/record"
)

// The messages of Loki's push API (logproto, in Loki's pkg/push/push.proto), as
// far as a client fills them:
//
//	message PushRequest   { repeated StreamAdapter streams = 1; }
//	message StreamAdapter { string labels = 1; repeated EntryAdapter entries = 2; }
//	message EntryAdapter  { Timestamp timestamp = 1; string line = 2;
//	                        repeated LabelPairAdapter structuredMetadata = 3; }
//	message Timestamp     { int64 seconds = 1; int32 nanos = 2; }
//	message LabelPairAdapter { string name = 1; string value = 2; }
//
// They are written in place, from the front: sizes are computed where they are
// cheap (entries), and filled in afterwards where they are not (streams).

// Tags: a field's number and wire type in one byte.
const (
	varintType = 0
	bytesType  = 2

	fieldStreams  = 1<<3 | bytesType
	fieldLabels   = 1<<3 | bytesType
	fieldEntries  = 2<<3 | bytesType
	fieldTime     = 1<<3 | bytesType
	fieldLine     = 2<<3 | bytesType
	fieldMetadata = 3<<3 | bytesType
	fieldSeconds  = 1<<3 | varintType
	fieldNanos    = 2<<3 | varintType
	fieldName     = 1<<3 | bytesType
	fieldValue    = 2<<3 | bytesType
)

// maxHeader is the most that a stream's tag and size take.
const maxHeader = 1 + 5

// appendPush appends the push of runs to dst, and returns dst and the part of
// it that is the push.
func appendPush(dst []byte, runs []run, how entries) (buf, push []byte) {
	begin := len(dst)
	for len(runs) > 0 {
		n := 1
		for n < len(runs) && runs[n].number == runs[0].number {
			n++
		}
		start := len(dst)
		dst = append(dst, make([]byte, maxHeader)...)
		dst = append(dst, runs[0].labels()...)
		for i := range runs[:n] {
			dst = appendRun(dst, &runs[i], how)
		}
		// The header is put right before the message. What it leaves free is
		// skipped at the beginning of the push, and closed by moving the
		// message behind other streams.
		size := len(dst) - start - maxHeader
		gap := maxHeader - 1 - varintSize(uint64(size))
		header := append(dst[:start+gap], fieldStreams)
		binary.AppendUvarint(header, uint64(size))
		if start == begin {
			begin += gap
		} else {
			copy(dst[start:], dst[start+gap:])
			dst = dst[:len(dst)-gap]
		}
		runs = runs[n:]
	}
	return dst, dst[begin:]
}

// pushRoom returns about how many bytes the push of runs takes, rather more than
// less, so that a buffer is made once.
func pushRoom(runs []run) int {
	const entry = 40 // tags, sizes, a time
	size := 0
	for i := range runs {
		r := &runs[i]
		size += maxHeader + len(r.labels())
		metadata := 0
		for _, f := range r.fixed {
			if f != nil {
				metadata = max(metadata, len(f.metadata))
			}
		}
		for j := range r.part.Batch.Records[r.part.From:r.part.To] {
			size += entry + metadata + int(r.part.Batch.Records[r.part.From+j].Length)
		}
	}
	return size
}

func appendRun(dst []byte, r *run, how entries) []byte {
	batch := r.part.Batch
	records := batch.Records[r.part.From:r.part.To]
	for i := range records {
		rec := &records[i]
		if !r.streams.Has(rec.Stream) {
			continue
		}
		dst = appendEntry(dst, rec, batch.Line(rec), r.fixed[rec.Stream].metadata, batch.Derivation(rec), how)
	}
	return dst
}

// appendEntry appends the field StreamAdapter.entries.
func appendEntry(dst []byte, rec *record.Record, line, metadata []byte, d *record.Derivation, how entries) []byte {
	t := sentTime(rec)
	seconds, nanos := t/1e9, t%1e9
	if nanos < 0 {
		seconds, nanos = seconds-1, nanos+1e9
	}
	// A field of value zero is not written.
	timeSize, lineSize := 0, 0
	if seconds != 0 {
		timeSize += 1 + varintSize(uint64(seconds))
	}
	if nanos != 0 {
		timeSize += 1 + varintSize(uint64(nanos))
	}
	if len(line) > 0 {
		lineSize = 1 + varintSize(uint64(len(line))) + len(line)
	}
	size := 2 + timeSize + lineSize + len(metadata)

	var marks []byte
	if (rec.Flags != 0 || rec.Ordinal > 1) && !how.omitMetadata {
		var room [128]byte // More than all marks together take.
		marks = appendMarks(room[:0], rec)
	}
	if d != nil && !how.omitMetadata {
		for name, value := range derivedMetadata(d, how.recordLabels) {
			marks = appendMetadata(marks, name, value)
		}
	}
	size += len(marks)

	dst = append(dst, fieldEntries)
	dst = binary.AppendUvarint(dst, uint64(size))
	dst = append(dst, fieldTime, byte(timeSize))
	if seconds != 0 {
		dst = append(dst, fieldSeconds)
		dst = binary.AppendUvarint(dst, uint64(seconds))
	}
	if nanos != 0 {
		dst = append(dst, fieldNanos)
		dst = binary.AppendUvarint(dst, uint64(nanos))
	}
	if len(line) > 0 {
		dst = append(dst, fieldLine)
		dst = binary.AppendUvarint(dst, uint64(len(line)))
		dst = append(dst, line...)
	}
	dst = append(dst, metadata...)
	return append(dst, marks...)
}

// appendMarks appends what is unusual about rec.
func appendMarks(dst []byte, rec *record.Record) []byte {
	if rec.Ordinal > 1 {
		var digits [10]byte
		dst = appendMetadata(dst, metaOrdinal, strconv.AppendUint(digits[:0], uint64(rec.Ordinal), 10))
	}
	if rec.Flags&record.Cut != 0 {
		dst = appendMetadata(dst, metaCut, "true")
	}
	if rec.Flags&record.Continued != 0 {
		dst = appendMetadata(dst, metaContinued, "true")
	}
	if rec.Flags&record.Unterminated != 0 {
		dst = appendMetadata(dst, metaUnterminated, "true")
	}
	return dst
}

// appendMetadata appends one field EntryAdapter.structuredMetadata.
func appendMetadata[V string | []byte](dst []byte, name string, value V) []byte {
	size := 2 + varintSize(uint64(len(name))) + len(name) + varintSize(uint64(len(value))) + len(value)
	dst = append(dst, fieldMetadata)
	dst = binary.AppendUvarint(dst, uint64(size))
	dst = appendStringField(dst, fieldName, name)
	return appendStringField(dst, fieldValue, value)
}

// appendStringField appends a field with the given tag.
func appendStringField[V string | []byte](dst []byte, tag byte, value V) []byte {
	dst = append(dst, tag)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

// varintSize returns the number of bytes that v takes as a varint.
func varintSize(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }
