package record

import "encoding/binary"

const (
	// HeadSize is the most bytes of a file's beginning that identify it.
	HeadSize = 1 << 10
	// TailSize is the most bytes before a place that identify it.
	TailSize = 256
)

// FileID identifies a file across renames, and its content across copies and
// compression.
type FileID struct {
	// Inode is the file's inode number. A copy has another one.
	Inode uint64
	// Head is LineHash of the file's first HeadLength bytes, at most HeadSize.
	Head       uint64
	HeadLength uint32
}

// Place is a lower bound of what a cursor has, in the source's files: reading
// again from there gives everything that the cursor does not have, and numbers
// it as it was numbered before. It may be older than the cursor.
//
// The anchors of a cursor say which record was the last one. They do not say
// where it is, and are what holds when a place is in nothing that is retained,
// or when the source is read in a way that knows no files.
type Place struct {
	File FileID
	// Offset is where an entry of the log begins in the file, in bytes: the
	// oldest entry whose line is not among the records before the place.
	Offset int64
	// Tail is LineHash of the bytes before Offset, as many as there are and at
	// most TailSize. It tells the place from another in a file that was renamed,
	// copied or compressed.
	Tail uint64
	// Seqs are how many records of each stream lie before Offset.
	Seqs [NumStreams]uint64
}

// IsZero reports whether the place is none.
func (p Place) IsZero() bool { return p == Place{} }

// Before reports whether no more records lie before p than before other, in
// every stream.
func (p Place) Before(other Place) bool {
	for s, n := range p.Seqs {
		if n > other.Seqs[s] {
			return false
		}
	}
	return true
}

// bounds reports whether p is a lower bound of what c has.
func (p Place) bounds(c *Cursor) bool {
	for s, n := range p.Seqs {
		if n > c.Streams[s].Seq {
			return false
		}
	}
	return true
}

const placeSize = 8 + 8 + 4 + 8 + 8 + NumStreams*8

// appendBinary appends the place's fields in their order, in little-endian
// order.
func (p Place) appendBinary(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, p.File.Inode)
	b = binary.LittleEndian.AppendUint64(b, p.File.Head)
	b = binary.LittleEndian.AppendUint32(b, p.File.HeadLength)
	b = binary.LittleEndian.AppendUint64(b, uint64(p.Offset))
	b = binary.LittleEndian.AppendUint64(b, p.Tail)
	for _, n := range p.Seqs {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return b
}

// unmarshal decodes the placeSize bytes that appendBinary wrote.
func (p *Place) unmarshal(b []byte) {
	p.File = FileID{
		Inode:      binary.LittleEndian.Uint64(b),
		Head:       binary.LittleEndian.Uint64(b[8:]),
		HeadLength: binary.LittleEndian.Uint32(b[16:]),
	}
	p.Offset = int64(binary.LittleEndian.Uint64(b[20:]))
	p.Tail = binary.LittleEndian.Uint64(b[28:])
	for s := range p.Seqs {
		p.Seqs[s] = binary.LittleEndian.Uint64(b[36+8*s:])
	}
}
