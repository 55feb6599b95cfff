package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// A segment file. Integers are little-endian; CRCs are CRC32C (Castagnoli).
//
//	0       8         12      20    24
//	┌───────┬─────────┬───────┬─────┬─────────┬─────────┬───
//	│ magic │ version │ first │ crc │ frame   │ frame   │ …
//	│ 8 B   │ u32     │ u64   │ u32 │         │         │
//	└───────┴─────────┴───────┴─────┴─────────┴─────────┴───
//	└── crc covers these ───┘
//
// first is the number of the segment's first record. A frame holds an entry:
//
//	0        4     8       16        20
//	┌────────┬─────┬───────┬─────────┬─────────────────┐
//	│ length │ crc │ first │ records │ payload         │
//	│ u32    │ u32 │ u64   │ u32     │ length bytes    │
//	└────────┴─────┴───────┴─────────┴─────────────────┘
//
// crc covers everything else of the frame; first is the number of the entry's
// first record and records how many it has. The payload is codec.go's.
const (
	segmentMagic   = "LCSPOOL\n"
	segmentVersion = 1
	headerSize     = 24
	frameSize      = 20
	// maxPayload bounds what a length in a file may make us read. A batch holds
	// a few lines, each of at most 1 GiB by the config's rules.
	maxPayload = 1<<32 - 1<<10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errVersion says that a segment is whole, but of a version not known here.
var errVersion = errors.New("written by another version of log_capturer, which this one cannot read")

func appendHeader(b []byte, first uint64) []byte {
	start := len(b)
	b = append(b, segmentMagic...)
	b = binary.LittleEndian.AppendUint32(b, segmentVersion)
	b = binary.LittleEndian.AppendUint64(b, first)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// checkHeader returns what is wrong with a segment's header.
func checkHeader(b []byte, first uint64) error {
	switch {
	case len(b) < headerSize:
		return fmt.Errorf("the header has %d bytes of %d", len(b), headerSize)
	case !bytes.HasPrefix(b, []byte(segmentMagic)):
		return errors.New("the header does not begin as a segment's")
	case crc32.Checksum(b[:headerSize-4], castagnoli) != binary.LittleEndian.Uint32(b[headerSize-4:]):
		return errors.New("the header has a wrong checksum")
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != segmentVersion {
		return fmt.Errorf("format version %d: %w", v, errVersion)
	}
	if n := binary.LittleEndian.Uint64(b[12:]); n != first {
		return fmt.Errorf("the header says that record %d is the first, the name says %d", n, first)
	}
	return nil
}

// frame is the fixed part of an entry.
type frame struct {
	length, crc uint32
	first       uint64
	records     uint32
}

func (f frame) size() int64 { return frameSize + int64(f.length) }

// appendFrame appends a whole frame.
func appendFrame(b []byte, first uint64, records int, payload []byte) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, first)
	b = binary.LittleEndian.AppendUint32(b, uint32(records))
	b = append(b, payload...)
	binary.LittleEndian.PutUint32(b[start+4:], frameCRC(b[start:]))
	return b
}

// frameCRC returns the checksum of a whole frame.
func frameCRC(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:4], castagnoli), castagnoli, b[8:])
}

func decodeFrame(b []byte) frame {
	return frame{
		length:  binary.LittleEndian.Uint32(b),
		crc:     binary.LittleEndian.Uint32(b[4:]),
		first:   binary.LittleEndian.Uint64(b[8:]),
		records: binary.LittleEndian.Uint32(b[16:]),
	}
}

// The names of segments. All numbers are those of records, with 20 digits, so
// that names sort by age; end is the number after the last record.
const (
	openSuffix   = ".open" // <first>.open: written to
	sealedSuffix = ".seg"  // <first>-<end>.seg: complete
	asideSuffix  = ".bad"  // <first>-<end>-lost-<records>.bad: set aside
)

func openName(first uint64) string { return fmt.Sprintf("%020d%s", first, openSuffix) }

func sealedName(first, end uint64) string {
	return fmt.Sprintf("%020d-%020d%s", first, end, sealedSuffix)
}

func asideName(first, end, lost uint64) string {
	return fmt.Sprintf("%020d-%020d-lost-%d%s", first, end, lost, asideSuffix)
}

// parsed is what a name says.
type parsed struct {
	first, end, lost uint64
	suffix           string
}

// parseName returns what a file's name says, false for one that is no
// segment's.
func parseName(name string) (parsed, bool) {
	for _, suffix := range []string{openSuffix, sealedSuffix, asideSuffix} {
		rest, ok := strings.CutSuffix(name, suffix)
		if !ok {
			continue
		}
		p := parsed{suffix: suffix}
		rest, lost, _ := strings.Cut(rest, "-lost-")
		first, end, _ := strings.Cut(rest, "-")
		p.first, _ = strconv.ParseUint(first, 10, 64)
		p.end, _ = strconv.ParseUint(end, 10, 64)
		p.lost, _ = strconv.ParseUint(lost, 10, 64)
		return p, name == p.name()
	}
	return parsed{}, false
}

func (p parsed) name() string {
	switch p.suffix {
	case openSuffix:
		return openName(p.first)
	case sealedSuffix:
		return sealedName(p.first, p.end)
	}
	return asideName(p.first, p.end, p.lost)
}
