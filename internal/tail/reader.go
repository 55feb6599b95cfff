package tail

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"
	"time"

	"log_capturer/internal/record"
)

// Kind is what Next came to.
type Kind int

// The kinds.
const (
	// Idle: all that the log holds now was given, or it is not there yet.
	Idle Kind = iota
	// Data: Chunk.Data has bytes, or Chunk.Last is set.
	Data
	// Gap: what comes next does not join on to what came before. It stands
	// behind a chunk that is Last.
	Gap
	// Ended: the log is not there any more and all of it was given. When a file
	// of its name appears, it is read from its beginning.
	Ended
)

// Chunk is a step of a Reader.
type Chunk struct {
	Kind Kind
	// Data are bytes of one file. They stay valid until the buffer is used
	// again.
	Data []byte
	// Offset is where Data begins in the file's content.
	Offset int64
	// Last says that the file has no more than Data and never will: a line that
	// has no end yet does not get one. Data may be empty.
	Last bool
	// More says that the buffer was filled, so that there is more at once.
	More bool
	// Lost is how many bytes are missing in a Gap at least; 0 where nothing is
	// known of them. Reason says what happened.
	Lost   int64
	Reason string
	// NotFound says of a Gap that Start.Place is in nothing that is retained.
	NotFound bool

	file record.FileID
	// space is the buffer from which Data is a part, with what is before Data in
	// the file before it.
	space []byte
	start int
}

// File returns the identity of the file that Data is from.
func (c *Chunk) File() record.FileID { return c.file }

// Place returns the place of Data[i], which may be its end, without Seqs. It
// hashes 256 bytes: once for a batch, not for a line.
func (c *Chunk) Place(i int) record.Place {
	at := c.start + i
	known := int(min(c.Offset+int64(i), record.TailSize))
	return record.Place{
		File: c.file, Offset: c.Offset + int64(i),
		Tail: record.LineHash(c.space[at-known : at]),
	}
}

// Start says where a Reader begins.
type Start struct {
	// Place is where reading goes on. Where it is zero, reading begins at the
	// head of the live file, or with Oldest set at that of the oldest file that
	// is retained.
	Place  record.Place
	Oldest bool
	// Since is what Reader.Written was at Place, in Unix nanoseconds. It matters
	// where Place is in nothing that is retained: files that were not written to
	// since then are older, and are not read. Zero means that nothing is known,
	// and all are read.
	Since int64
}

// Options are a Reader's options. The zero Options are those of a writer that
// leaves a file before it makes the next one, as dockerd does.
type Options struct {
	// Settle is how long a rotated file must be silent before it is left for the
	// next one. It is for writers that go on in a renamed file until they are
	// told to open the new one.
	Settle time.Duration
	// Now is the clock that files' times are compared with; nil means time.Now.
	Now func() time.Time
}

// patience is how long a rotated file is watched for a writer that has not come
// to the new one, which is empty.
const patience = 30 * time.Second

// MinBuffer is the least size of a buffer for Next: room for the bytes that are
// read again to see that a file was not changed, and for one entry of a log.
const MinBuffer = record.TailSize + 64<<10

// Reader follows one log. It must not be used by two goroutines at once.
//
// Its reading stands at an offset in one file, which is open or not. That Next
// has given bytes does not move it: Use does.
type Reader struct {
	log  Log
	opts Options
	// fresh says that no file was opened yet, oldest which one is to be then.
	fresh, oldest bool

	// id, offset and tail are the place: tail are the bytes before offset, at
	// most record.TailSize. It is nil while only its hash is known.
	id       record.FileID
	offset   int64
	tail     []byte
	tailHash uint64
	// offered is the end of what Next has given of this file.
	offered int64
	// used is how many bytes were used of all files.
	used int64

	// file is the open file, nil while it is closed.
	file *file
	// seen is the live path's stat when the reading was at its end, the zero stat
	// when it is not known to be.
	seen stat
	// largest is the largest size that the file was seen to have.
	largest int64
	// written is what Written returns; 0 when it is not known.
	written int64
	// decided says that it is known which files come after this one: rest, the
	// first of which does not join on to this one when gone is set. This one is
	// read to its end once more after that.
	decided, gone bool
	rest          []retained
	// atRest says that all was read when the file was looked at last.
	atRest bool
	// last says that a chunk was given as the file's Last one.
	last bool
	// ended says that Ended was given: what comes is a new file.
	ended bool
	// gathered is what Gathered returns. The set sets it before a step.
	gathered time.Duration
	// out are chunks without data that are given before anything else.
	out []Chunk
	// passed are the files that were read before this one, the latest at the end.
	passed []record.FileID
	// resuming says that the place is that of Start, and was not found yet.
	resuming bool
	// opened is when the file was opened, and device where it is.
	opened time.Time
	device uint64
}

// NewReader returns a reader of log. It opens nothing yet.
func NewReader(log Log, start Start, opts Options) *Reader {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	r := &Reader{log: log, opts: opts}
	r.Reset(start)
	return r
}

// Reset has the reader begin anew. A chunk that it gave before must not be used
// any more.
func (r *Reader) Reset(start Start) {
	r.file.close()
	*r = Reader{
		log: r.log, opts: r.opts, used: r.used,
		fresh: start.Place.IsZero(), oldest: start.Oldest, resuming: !start.Place.IsZero(),
		id: start.Place.File, offset: start.Place.Offset, tailHash: start.Place.Tail, written: start.Since,
	}
	if r.offset == 0 {
		r.tail = []byte{}
	}
	r.offered = r.offset
}

// Path returns the path of the live file.
func (r *Reader) Path() string { return r.log.Path }

// IsOpen reports whether the reader holds an open file.
func (r *Reader) IsOpen() bool { return r.file != nil }

// Device returns the number of the device that the file is on, 0 before the first
// one was opened.
func (r *Reader) Device() uint64 { return r.device }

// Used returns how many bytes were used so far, of all files.
func (r *Reader) Used() int64 { return r.used }

// Inode returns the inode number of the file that is being read, 0 before the
// first one was opened.
func (r *Reader) Inode() uint64 { return r.id.Inode }

// Written returns when the file that is being read had been written to last when
// Next gave the last bytes of it, or found none, in Unix nanoseconds.
func (r *Reader) Written() int64 { return r.written }

// Gathered returns, in a step of a set, how long what is read in it had time to
// gather: it is zero unless the step is one of a sweep.
func (r *Reader) Gathered() time.Duration { return r.gathered }

// mustStay reports whether closing the file would lose it: there is no name by
// which it could be opened again.
func (r *Reader) mustStay() bool {
	info, err := r.file.os.Stat()
	if err != nil {
		return false
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	return ok && sys.Nlink == 0
}

// Close closes the reader's file. Next opens it again where it was; what it
// held of an unlinked file is lost then, as a Gap.
func (r *Reader) Close() {
	r.file.close()
	r.file = nil
}

// Next gives what comes next, in buf, which has at least MinBuffer bytes. An
// error leaves the reading where it was: it may pass.
//
// What was not used of a chunk comes again with the next one, when there is more
// behind it or when it is Last. A chunk that fills the buffer and of which
// nothing is used would come again for ever.
func (r *Reader) Next(buf []byte) (Chunk, error) {
	for range maxTurns {
		if len(r.out) > 0 {
			c := r.out[0]
			r.out = r.out[1:]
			return c, nil
		}
		c, done, err := r.turn(buf)
		if err != nil || done {
			return c, err
		}
	}
	// The files change faster than they can be looked at.
	return Chunk{Kind: Idle}, nil
}

// maxTurns bounds what one Next goes through.
const maxTurns = 100

// turn does one thing, and reports whether it came to something to give.
func (r *Reader) turn(buf []byte) (c Chunk, done bool, err error) {
	if r.unchanged() {
		return Chunk{Kind: Idle}, true, nil
	}
	if r.file == nil {
		if c, done, err = r.open(); err != nil || done || r.file == nil || len(r.out) > 0 {
			return c, done, err
		}
		r.resuming, r.opened, r.device = false, time.Now(), r.file.device
	}
	c, changed, err := r.readChunk(buf)
	var torn *damage
	switch {
	case errors.As(err, &torn):
		return r.giveUp(torn)
	case err != nil:
		return Chunk{}, true, fmt.Errorf("read log %q: %w", r.file.path, err)
	case changed:
		return r.truncated()
	case c.Kind == Data:
		return c, true, nil
	case r.file == nil || len(r.out) > 0:
		return Chunk{}, false, nil // it was left for another one
	}
	return r.atEnd(buf)
}

// unchanged reports whether the live file is as it was when it was read to its
// end.
func (r *Reader) unchanged() bool {
	if r.seen == (stat{}) {
		return false
	}
	now, err := look(r.log.Path)
	if err == nil && now == r.seen {
		return true
	}
	r.seen = stat{}
	return false
}

// racy is how long after a change another one may not show in a file's times,
// which the kernel takes from a clock that ticks.
const racy = 50 * time.Millisecond

// settle remembers that the live file is read to its end.
func (r *Reader) settle(live stat) {
	r.atRest, r.written, r.largest = true, live.modified, max(r.largest, live.size)
	if age := live.age(r.opts.Now()); age < 0 || age > racy {
		r.seen = live
	}
}

// readChunk reads on. Together with what is new it reads what came before again:
// changed says that this is not what it was.
func (r *Reader) readChunk(buf []byte) (c Chunk, changed bool, err error) {
	room := buf[record.TailSize:]
	var n int
	if r.file.zipped {
		copy(buf[record.TailSize-len(r.tail):], r.tail)
		n, err = r.file.readAt(room, r.offset)
	} else {
		known := len(r.tail)
		n, err = r.file.readAt(buf[record.TailSize-known:], r.offset-int64(known))
		if err == nil && (n < known || !bytes.Equal(buf[record.TailSize-known:record.TailSize], r.tail)) {
			return Chunk{}, true, nil
		}
		n -= known
	}
	end := r.offset + int64(n)
	if err != nil || end <= r.offered {
		return Chunk{}, false, err
	}
	if r.offset == 0 && !r.startsAsKnown(room[:n]) {
		return Chunk{}, true, nil // it was truncated before anything was read of it
	}
	if r.id.HeadLength < record.HeadSize && end > int64(r.id.HeadLength) {
		if moved, err := r.identify(room[:n]); err != nil || moved {
			return Chunk{}, false, err
		}
	}
	if err := r.file.refresh(); err != nil {
		return Chunk{}, false, err
	}
	r.written, r.largest, r.offered = r.file.modified, max(r.largest, end), end
	r.seen, r.decided, r.atRest, r.last, r.ended = stat{}, false, false, false, false
	return r.chunk(buf, n), false, nil
}

// startsAsKnown reports whether data, which is read from the head of the file, is
// what the file is known by.
func (r *Reader) startsAsKnown(data []byte) bool {
	known := int(r.id.HeadLength)
	return known == 0 || len(data) >= known && record.LineHash(data[:known]) == r.id.Head
}

func (r *Reader) chunk(buf []byte, n int) Chunk {
	return Chunk{
		Kind: Data, Data: buf[record.TailSize : record.TailSize+n], Offset: r.offset, More: record.TailSize+n == len(buf),
		file: r.id, space: buf[:record.TailSize+n], start: record.TailSize,
	}
}

// identify takes in the head of a file that has grown. It reports whether the
// reading went to another file: where nothing of this one was known yet, it may
// have been copied and truncated since, more than once.
func (r *Reader) identify(data []byte) (moved bool, err error) {
	if r.offset > 0 {
		if r.file.zipped {
			return false, nil // its head is known well enough
		}
		id, err := r.file.head()
		if err == nil {
			r.id = id
		}
		return false, err
	}
	if r.id.HeadLength == 0 && r.written != 0 {
		if moved, err := r.toOlder(); err != nil || moved {
			return moved, err
		}
	}
	head := data[:min(len(data), record.HeadSize)]
	r.id = record.FileID{Inode: r.file.inode, Head: record.LineHash(head), HeadLength: uint32(len(head))}
	return false, nil
}

// Use moves the reading over the first n bytes of the chunk that Next gave last.
// It is called once for each chunk of Data, also where n is 0.
func (r *Reader) Use(c *Chunk, n int) {
	if r.file != nil && r.file.zipped {
		r.file.kept = append(r.file.kept[:0], c.Data[n:]...)
	}
	if n == 0 {
		return
	}
	at := c.start + n
	r.offset = c.Offset + int64(n)
	r.used += int64(n)
	known := int(min(r.offset, record.TailSize))
	r.tail = append(r.tail[:0], c.space[at-known:at]...)
}

// Place returns the place of the next byte that was not used, without Seqs. It
// is zero before the first file was opened.
func (r *Reader) Place() record.Place {
	if r.fresh {
		return record.Place{}
	}
	p := record.Place{File: r.id, Offset: r.offset, Tail: r.tailHash}
	if r.tail != nil {
		p.Tail = record.LineHash(r.tail)
	}
	return p
}
