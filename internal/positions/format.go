package positions

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
)

// A journal file. Integers are little-endian; CRCs are CRC32C (Castagnoli).
//
//	0       8         12     20     28    32               base
//	┌───────┬─────────┬──────┬──────┬─────┬────────────────┬────────────────┐
//	│ magic │ version │ base │ boot │ crc │ records of the │ records of the │
//	│ 8 B   │ u32     │ u64  │ u64  │ u32 │ snapshot       │ time since     │
//	└───────┴─────────┴──────┴──────┴─────┴────────────────┴────────────────┘
//	└───── crc covers these ────────┘
//
// base is where the snapshot ends; boot is the boot in which the file was made.
//
// A record; length is that of the payload, and crc covers length and payload:
//
//	┌────────┬─────┬─────────────────────────┐
//	│ length │ crc │ payload                 │
//	│ u32    │ u32 │ kind u8, then as it says│
//	└────────┴─────┴─────────────────────────┘
//
// Kind 'c', repeated: the changes of one Commit, or keys of the snapshot. A
// removed key has 0 for its value's length:
//
//	┌───────────────┬─────┬─────────────────────┬───────┐
//	│ length of key │ key │ length of value + 1 │ value │
//	│ uvarint       │     │ uvarint             │       │
//	└───────────────┴─────┴─────────────────────┴───────┘
//
// Kind 'm', a mark (see type mark):
//
//	┌──────┬─────────┬────────┐
//	│ boot │ covered │ synced │
//	│ u64  │ u64     │ u64    │
//	└──────┴─────────┴────────┘
const (
	fileMagic   = "LCPOSJNL"
	fileVersion = 1
	headerSize  = 32

	frameSize  = 8 // length and crc of a record
	markSize   = 1 + 3*8
	maxPayload = 16 << 20
	// snapshotPayload is the size at which a snapshot starts its next record.
	snapshotPayload = 64 << 10

	kindChanges = 'c'
	kindMark    = 'm'
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is the beginning of a file.
type header struct {
	base int64
	boot uint64
}

// mark says what is known of the records before it.
type mark struct {
	// boot is the boot in which the records that follow were written.
	boot uint64
	// covered is the offset before which records stand for durable things: all
	// OnSync hooks succeeded after they were written.
	covered int64
	// synced is the offset before which the file itself was fsynced.
	synced int64
}

func appendHeader(b []byte, h header) []byte {
	start := len(b)
	b = append(b, fileMagic...)
	b = binary.LittleEndian.AppendUint32(b, fileVersion)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.base))
	b = binary.LittleEndian.AppendUint64(b, h.boot)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// errVersion says that a file is whole, but not of a version known here.
var errVersion = errors.New("written by another version of log_capturer, which this one cannot read")

func decodeHeader(b []byte) (header, error) {
	if len(b) < headerSize {
		return header{}, fmt.Errorf("header has %d bytes of %d", len(b), headerSize)
	}
	b = b[:headerSize]
	body, crc := b[:headerSize-4], binary.LittleEndian.Uint32(b[headerSize-4:])
	if !bytes.HasPrefix(body, []byte(fileMagic)) {
		return header{}, errors.New("header does not begin as a journal's")
	}
	if crc32.Checksum(body, castagnoli) != crc {
		return header{}, errors.New("header has a wrong checksum")
	}
	if v := binary.LittleEndian.Uint32(body[8:]); v != fileVersion {
		return header{}, fmt.Errorf("format version %d: %w", v, errVersion)
	}
	h := header{
		base: int64(binary.LittleEndian.Uint64(body[12:])),
		boot: binary.LittleEndian.Uint64(body[20:]),
	}
	if h.base < headerSize {
		return header{}, fmt.Errorf("header says that the snapshot ends at %d", h.base)
	}
	return h, nil
}

// beginRecord appends the frame of a record of this kind, to be filled in by
// endRecord when the payload stands after it.
func beginRecord(b []byte, kind byte) []byte {
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0, kind)
}

// endRecord fills in the frame of the record that begins at start and ends with
// b.
func endRecord(b []byte, start int) {
	r := b[start:]
	binary.LittleEndian.PutUint32(r, uint32(len(r)-frameSize))
	binary.LittleEndian.PutUint32(r[4:], recordCRC(r))
}

// recordCRC returns the checksum of a whole record.
func recordCRC(r []byte) uint32 {
	return crc32.Update(crc32.Checksum(r[:4], castagnoli), castagnoli, r[frameSize:])
}

func appendMark(b []byte, m mark) []byte {
	start := len(b)
	b = beginRecord(b, kindMark)
	b = binary.LittleEndian.AppendUint64(b, m.boot)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.covered))
	b = binary.LittleEndian.AppendUint64(b, uint64(m.synced))
	endRecord(b, start)
	return b
}

// decodeMark decodes the payload of a mark that stands at offset off.
func decodeMark(payload []byte, off int64) (mark, bool) {
	if len(payload) != markSize {
		return mark{}, false
	}
	m := mark{
		boot:    binary.LittleEndian.Uint64(payload[1:]),
		covered: int64(binary.LittleEndian.Uint64(payload[9:])),
		synced:  int64(binary.LittleEndian.Uint64(payload[17:])),
	}
	return m, 0 <= m.covered && m.covered <= off && 0 <= m.synced && m.synced <= off
}

func appendChange(b []byte, key string, value []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(key)))
	b = append(b, key...)
	if value == nil {
		return append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(value))+1)
	return append(b, value...)
}

func appendChanges(b []byte, changes []Change) []byte {
	start := len(b)
	b = beginRecord(b, kindChanges)
	for _, c := range changes {
		b = appendChange(b, c.Key, c.Value)
	}
	endRecord(b, start)
	return b
}

// decodeChanges calls apply with each change of a payload, and reports whether
// the payload is whole; apply may have been called if it is not. Key and value
// are parts of the payload; a nil value removes the key.
func decodeChanges(payload []byte, apply func(key, value []byte)) bool {
	b := payload[1:]
	next := func(n uint64) []byte {
		part := b[:n:n]
		b = b[n:]
		return part
	}
	for len(b) > 0 {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return false
		}
		b = b[size:]
		key := next(n)
		if n, size = binary.Uvarint(b); size <= 0 || n > uint64(len(b)-size)+1 {
			return false
		}
		b = b[size:]
		var value []byte
		if n > 0 {
			value = next(n - 1)
		}
		apply(key, value)
	}
	return true
}

// validPayload reports whether a payload at offset off decodes.
func validPayload(payload []byte, off int64) bool {
	switch payload[0] {
	case kindChanges:
		return decodeChanges(payload, func(_, _ []byte) {})
	case kindMark:
		_, ok := decodeMark(payload, off)
		return ok
	}
	return false
}

// encodeSnapshot returns the bytes of a new file that holds these entries, which
// take about live bytes.
func encodeSnapshot(entries map[string][]byte, live int64, boot uint64) []byte {
	b := make([]byte, headerSize, headerSize+live+live/snapshotPayload*frameSize+64)
	start := len(b)
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		if len(b) == start {
			b = beginRecord(b, kindChanges)
		}
		b = appendChange(b, key, entries[key])
		if len(b)-start > snapshotPayload {
			endRecord(b, start)
			start = len(b)
		}
	}
	if len(b) > start {
		endRecord(b, start)
	}
	appendHeader(b[:0], header{base: int64(len(b)), boot: boot})
	return b
}

// entrySize is about what an entry takes in a snapshot, in bytes.
func entrySize(key string, value []byte) int64 { return int64(len(key) + len(value) + 4) }
