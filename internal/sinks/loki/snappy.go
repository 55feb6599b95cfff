package loki

import (
	"encoding/binary"

	"github.com/klauspost/compress/s2"
)

// snappyPiece is how much is compressed at a time, in bytes. A block of snappy is
// its length and then elements that refer at most 64 KiB back, so elements of
// pieces that were compressed by themselves may follow each other: Snappy's own
// compressors do the same. A piece below 64 KiB is compressed with a table that
// the processor's first caches hold, which takes an eighth less time for a
// fortieth more bytes.
const snappyPiece = 64<<10 - 1

// snappyRoom returns the room that appendSnappy needs for n bytes: the most that
// each piece takes, and the length of all.
func snappyRoom(n int) int {
	return binary.MaxVarintLen64 + (n/snappyPiece+1)*s2.MaxEncodedLen(snappyPiece)
}

// appendSnappy appends src as one block of snappy. dst must have room for
// snappyRoom(len(src)) bytes.
func appendSnappy(dst, src []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(src)))
	for len(src) > 0 {
		piece := src[:min(len(src), snappyPiece)]
		src = src[len(piece):]
		block := s2.EncodeSnappy(dst[len(dst):cap(dst)], piece)
		_, header := binary.Uvarint(block)
		// The elements are moved over the piece's length.
		n := copy(block, block[header:])
		dst = dst[:len(dst)+n]
	}
	return dst
}
