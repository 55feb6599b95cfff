package fakeengine

import (
	"encoding/binary"
	"time"

	"log_capturer/internal/record"
)

// PieceSize is the size in bytes of the pieces in which the engine keeps lines
// that are longer.
const PieceSize = 16 << 10

// timestampForm is how the engine writes a timestamp before an entry: always
// nine digits, in UTC.
const timestampForm = "2006-01-02T15:04:05.000000000Z"

// Entry is one entry of a container's log: a line, or a piece of one.
type Entry struct {
	Stream record.Stream
	Time   time.Time
	// Data are the entry's bytes, with the newline that ends a line. A piece
	// that is not a line's last has none.
	Data []byte
}

// Line returns the entry of a line, to which it adds the newline.
func Line(stream record.Stream, at time.Time, text string) Entry {
	return Entry{Stream: stream, Time: at, Data: append([]byte(text), '\n')}
}

// Pieces returns the entries in which the engine keeps a long line. All carry
// the same time, and only the last one ends in a newline. A line whose length
// is a multiple of PieceSize has its newline in an entry of its own.
func Pieces(stream record.Stream, at time.Time, text string) []Entry {
	var entries []Entry
	for len(text) >= PieceSize {
		entries = append(entries, Entry{Stream: stream, Time: at, Data: []byte(text[:PieceSize])})
		text = text[PieceSize:]
	}
	return append(entries, Line(stream, at, text))
}

// The stream types of a frame's header.
const (
	frameStdout      = 1
	frameStderr      = 2
	frameSystemError = 3
)

// frame returns a payload behind the header that the engine writes before every
// entry of a container without a TTY: the stream's type, three zero bytes, and
// the payload's length as a big-endian 32-bit number.
func frame(kind byte, payload []byte) []byte {
	b := make([]byte, 8, 8+len(payload))
	b[0] = kind
	binary.BigEndian.PutUint32(b[4:], uint32(len(payload)))
	return append(b, payload...)
}

// encode returns the entry as a log stream carries it.
func (en *Entry) encode(timestamps, tty bool) []byte {
	var payload []byte
	if timestamps {
		payload = en.Time.UTC().AppendFormat(payload, timestampForm)
		payload = append(payload, ' ')
	}
	payload = append(payload, en.Data...)
	if tty {
		return payload
	}
	return frame(frameStdout+byte(en.Stream), payload)
}
