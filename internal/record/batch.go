package record

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// Batch is a run of consecutive records of one source, in the order in which
// the source gave them, with the cursor range that they cover.
type Batch struct {
	// Source is what the records have in common.
	Source *Source
	// From and To are the source's cursor before the first record and after
	// the last one. A stream without records in the batch has the same anchor
	// in both.
	From, To Cursor
	// Records are the records, oldest first.
	Records []Record
	// Streams holds the streams that have records in the batch.
	Streams StreamSet
	// Gathered is how long the records may have waited for each other where they
	// were read: that long they need not wait for company again.
	Gathered time.Duration

	// derived has an entry for each record of a derived batch.
	derived         []Derivation
	attributeMemory int

	arena []byte
	class int
	refs  atomic.Int32
}

// arenaClasses are the capacities of pooled arenas, in bytes. A batch takes the
// smallest that fits what its maker expects, so that a batch of one short line
// does not hold 64 KiB of a window.
var arenaClasses = [...]int{1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20}

var batchPools [len(arenaClasses)]sync.Pool

// NewBatch returns an empty batch of src, held once, with room for about size
// bytes of lines. It grows when they turn out to be more.
func NewBatch(src *Source, size int) *Batch {
	class := 0
	for class < len(arenaClasses)-1 && arenaClasses[class] < size {
		class++
	}
	b, _ := batchPools[class].Get().(*Batch)
	if b == nil {
		b = &Batch{arena: make([]byte, 0, arenaClasses[class]), class: class}
	}
	b.Source = src
	b.refs.Store(1)
	return b
}

// Room returns n bytes behind the batch's last line. A line that is put at its
// front is appended without being copied. The room is valid until the next call
// of Room or Append.
func (b *Batch) Room(n int) []byte {
	b.arena = slices.Grow(b.arena, n)
	return b.arena[len(b.arena) : len(b.arena)+n]
}

// Append makes line the batch's next record, and copies it unless it is at the
// front of its Room. Offset and Length of r are set by the batch.
func (b *Batch) Append(r Record, line []byte) {
	used := len(b.arena)
	r.Offset, r.Length = uint32(used), uint32(len(line))
	if free := b.arena[used:cap(b.arena)]; len(line) > 0 && len(line) <= len(free) && &line[0] == &free[0] {
		b.arena = b.arena[:used+len(line)]
	} else {
		b.arena = append(b.arena, line...)
	}
	b.Records = append(b.Records, r)
	b.Streams |= Only(r.Stream)
}

// Line returns the bytes of r, which must be one of the batch's records. They
// stay valid until the batch is released, and must not be changed.
func (b *Batch) Line(r *Record) []byte {
	return b.arena[r.Offset : r.Offset+r.Length : r.Offset+r.Length]
}

// CursorAt returns the cursor after the first n records of the batch: From for
// 0, To for all of them. In between it claims for each stream no more than that
// stream's own last record, since a line of the other stream may have been
// incomplete at that point.
func (b *Batch) CursorAt(n int) Cursor {
	if n == len(b.Records) {
		return b.To
	}
	if b.Derived() {
		return b.derivedCursorAt(n)
	}
	c := b.From
	// To ends with the batch's last record. From may be the joined cursor of
	// several sinks and count fewer records than were read.
	total := b.To.Total() - uint64(len(b.Records))
	var last [NumStreams]*Record
	for i := range b.Records[:n] {
		r := &b.Records[i]
		last[r.Stream] = r
		a := &c.Streams[r.Stream]
		a.Seq++
		a.AsOf = total + uint64(i) + 1
	}
	for s, r := range last {
		if r != nil {
			a := &c.Streams[s]
			a.Last, a.Time, a.Count, a.Hash = true, r.Time, r.Ordinal, LineHash(b.Line(r))
		}
	}
	return c
}

// LineBytes returns the sum of the lines' lengths.
func (b *Batch) LineBytes() int { return len(b.arena) }

// The sizes of some types in memory, in bytes.
const (
	recordSize     = int(unsafe.Sizeof(Record{}))
	derivationSize = int(unsafe.Sizeof(Derivation{}))
	attributeSize  = int(unsafe.Sizeof(Attribute{}))
)

// Memory returns what the batch holds of memory, in bytes. It does not change
// once the batch was handed over, and is what bounded windows count.
func (b *Batch) Memory() int {
	return cap(b.arena) + cap(b.Records)*recordSize + cap(b.derived)*derivationSize + b.attributeMemory + 256
}

// Retain adds n holders.
func (b *Batch) Retain(n int) { b.refs.Add(int32(n)) }

// Release ends one hold. After the last one the batch is empty and may be in
// use again elsewhere.
func (b *Batch) Release() {
	switch n := b.refs.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("record: batch released more often than it was held")
	}
	// A batch that outgrew its class is left to the collector, so that the
	// pools stay what their classes say.
	if cap(b.arena) > 2*arenaClasses[b.class] {
		return
	}
	b.Source = nil
	b.From, b.To = Cursor{}, Cursor{}
	b.Records = b.Records[:0]
	b.Streams, b.Gathered = 0, 0
	clear(b.derived)
	b.derived, b.attributeMemory = b.derived[:0], 0
	b.arena = b.arena[:0]
	batchPools[b.class].Put(b)
}
