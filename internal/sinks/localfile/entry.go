package localfile

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// activeEntry is what the journal holds of an active file, by the key
// "file/<sink>/<path>".
type activeEntry struct {
	// length is the file's length in bytes. What the file holds past it belongs
	// to records that the journal's cursors do not cover.
	length   int64
	identity identity
	// first is when the file's first record was written, in Unix nanoseconds;
	// zero before.
	first int64
	// until is the end of the time that the path is for, in Unix nanoseconds;
	// zero when it is for all times.
	until int64
	// closing is the path that a rotation is about to give the file; empty when
	// none is under way.
	closing string
}

// closedEntry is what the journal holds of a closed file, by the key
// "closed_file/<sink>/<path>".
type closedEntry struct {
	// length is the file's length in bytes.
	length   int64
	identity identity
	// last is when the file's last record was written, and closed when it was
	// closed, in Unix nanoseconds.
	last, closed int64
	// active is the path that the file had before.
	active string
}

// entryVersion is the first byte of an encoded entry.
const entryVersion = 1

// entryNumbers is the count of numbers in an entry; both kinds have the same.
const entryNumbers = 6

// encode returns the entry as the journal keeps it: a version byte; length,
// device, inode, birth, first and until, in 8 little-endian bytes each; closing.
func (e *activeEntry) encode() []byte {
	return encodeEntry([entryNumbers]int64{e.length, int64(e.identity.device), int64(e.identity.inode),
		e.identity.born, e.first, e.until}, e.closing)
}

// encode returns the entry as the journal keeps it: a version byte; length,
// device, inode, birth, last and closed, in 8 little-endian bytes each; active.
func (e *closedEntry) encode() []byte {
	return encodeEntry([entryNumbers]int64{e.length, int64(e.identity.device), int64(e.identity.inode),
		e.identity.born, e.last, e.closed}, e.active)
}

func decodeActive(b []byte) (activeEntry, error) {
	n, path, err := decodeEntry(b)
	return activeEntry{
		length: n[0], identity: identity{device: uint64(n[1]), inode: uint64(n[2]), born: n[3]},
		first: n[4], until: n[5], closing: path,
	}, err
}

func decodeClosed(b []byte) (closedEntry, error) {
	n, path, err := decodeEntry(b)
	return closedEntry{
		length: n[0], identity: identity{device: uint64(n[1]), inode: uint64(n[2]), born: n[3]},
		last: n[4], closed: n[5], active: path,
	}, err
}

func encodeEntry(numbers [entryNumbers]int64, path string) []byte {
	b := make([]byte, 0, 1+8*entryNumbers+len(path))
	b = append(b, entryVersion)
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	return append(b, path...)
}

func decodeEntry(b []byte) (numbers [entryNumbers]int64, path string, err error) {
	switch {
	case len(b) == 0:
		return numbers, "", errors.New("decode file entry: empty")
	case b[0] != entryVersion:
		return numbers, "", fmt.Errorf("decode file entry: version %d is not known to this build", b[0])
	case len(b) < 1+8*entryNumbers:
		return numbers, "", fmt.Errorf("decode file entry: %d bytes, want at least %d", len(b), 1+8*entryNumbers)
	}
	b = b[1:]
	for i := range numbers {
		numbers[i] = int64(binary.LittleEndian.Uint64(b[8*i:]))
	}
	if numbers[0] < 0 {
		return numbers, "", fmt.Errorf("decode file entry: length %d", numbers[0])
	}
	return numbers, string(b[8*entryNumbers:]), nil
}
