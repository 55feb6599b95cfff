package spool

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"log_capturer/internal/vfs"
)

// Options configure a Spool.
type Options struct {
	// FS is the file system; nil means vfs.OS.
	FS vfs.FS
	// MaxBytes bounds the size of the files. With 0 nothing can be appended.
	MaxBytes int64
	// SegmentBytes is the size at which a segment is closed and a new one begun;
	// 0 means a sixteenth of MaxBytes, within 64 KiB and 16 MiB.
	SegmentBytes int64
	// Committed is the number up to which the caller is known to have taken
	// custody of what is in the spool (see Spool.Uncommitted).
	Committed uint64
	// Logger takes what recovery has to say; nil means none.
	Logger *slog.Logger
}

// Spool is an open spool. Its methods are safe for concurrent use, but Next is
// for one goroutine.
//
// An entry goes through AppendAll, Sync, Publish, Next and Done, in this order.
type Spool struct {
	dir          string
	fs           vfs.FS
	log          *slog.Logger
	maxBytes     int64
	segmentBytes int64
	proportional bool // segmentBytes follows maxBytes
	committed    uint64
	recovery     Recovery

	// syncMu is held throughout Sync, so that only one runs. It is taken before
	// mu.
	syncMu sync.Mutex

	// mu guards what follows. It is never held during an fsync of entries.
	mu       sync.Mutex
	encoder  codec
	frame    []byte     // of the entry that is being appended
	placed   bool       // the directory's own name is durable
	segments []*segment // oldest first; only the last may be open
	next     uint64     // number of the next record
	bytes    int64
	reserved int64 // size of the reserve, 0 while there is none
	// reserveFailed is when it could last not be made.
	reserveFailed time.Time
	unread        uint64
	unsynced      []*Entry
	closed        bool

	// The reader's.
	decoder codec
	buffer  []byte
}

// Entry is a batch in the spool.
type Entry struct {
	first   uint64
	records uint64
	off     int64 // where its frame begins
	end     int64 // and ends
	segment *segment
	void    bool
}

// Records returns the number of the entry's records that its sink wants.
func (e *Entry) Records() int { return int(e.records) }

// End returns the number after the entry's last record.
func (e *Entry) End() uint64 { return e.first + e.records }

// segment is a file. Its fields are guarded by Spool.mu.
type segment struct {
	first uint64
	path  string
	// file is open while the segment is written to, or read.
	file vfs.File
	open bool // it is written to
	// named says that the file's name is durable; torn, that there are bytes
	// past size; retired, that it must not be written to any more and could not
	// be sealed yet.
	named, torn, retired bool

	size int64 // in bytes, with what is not synced
	// synced and end are the size and the number up to which it is durable,
	// published and readable those up to which it may be read.
	synced, published int64
	end, readable     uint64

	readOff int64
	readNum uint64
	unread  uint64 // records
	// pinned counts the entries that are in memory and not done.
	pinned int
	// inMemory holds the entries that Next has to pass over, by first record.
	inMemory map[uint64]*Entry

	failures int // reads in a row that failed
	damaged  string
	lost     uint64
}

// Sync makes every entry that was appended before the call durable, but for those
// that Void then says are gone: an fsync that fails takes with it what was
// appended meanwhile.
func (s *Spool) Sync() error {
	s.syncMu.Lock()
	defer s.syncMu.Unlock()
	s.mu.Lock()
	n := len(s.unsynced)
	if n == 0 {
		s.mu.Unlock()
		return nil
	}
	last := s.unsynced[n-1]
	seg := last.segment
	file, named, placed := seg.file, seg.named, s.placed
	s.mu.Unlock()

	err := file.Sync()
	if err == nil && !named {
		err = s.fs.SyncDir(s.dir)
	}
	if err == nil && !placed {
		err = s.place()
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.void(seg)
		s.noRoom(err)
		return fmt.Errorf("sync spool: %w", err)
	}
	seg.named, s.placed = true, true
	seg.synced, seg.end = last.end, last.End()
	s.unsynced = append(s.unsynced[:0], s.unsynced[n:]...)
	if seg.size >= s.segmentBytes && len(s.unsynced) == 0 {
		s.sealOrLog(seg)
	}
	return nil
}

// place makes the name of the spool's directory durable, and that of the one
// that holds the spools: they may have been made by a run that did not get to
// it.
func (s *Spool) place() error {
	parent := filepath.Dir(s.dir)
	if err := s.fs.SyncDir(parent); err != nil {
		return err
	}
	return s.fs.SyncDir(filepath.Dir(parent))
}

// Void reports whether a Sync that failed has lost the entry: it has to be
// appended again.
func (s *Spool) Void(e *Entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.void
}

// void gives up the entries that are not durable. A later fsync would not save
// them, although it said so; nothing more is written to their file.
func (s *Spool) void(seg *segment) {
	for _, e := range s.unsynced {
		e.void = true
	}
	s.unsynced = nil
	s.next = seg.end
	s.bytes -= seg.size - seg.synced
	seg.size = seg.synced
	seg.torn, seg.retired = true, true
	if err := s.retire(seg); err != nil {
		s.log.Warn("spool_segment_not_closed", "path", seg.path, "error", err)
	}
}

// retire ends the writing to a segment whose file cannot be trusted with more.
// What is past its end is cut off if that is possible; the sealed name says
// where the end is if not.
func (s *Spool) retire(seg *segment) error {
	_ = s.mend(seg)
	if seg.end > seg.first {
		return s.seal(seg)
	}
	if err := s.fs.Remove(seg.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove an empty spool segment: %w", err)
	}
	s.forget(seg)
	return nil
}

// seal gives a segment the name of a complete one, and closes it. All that is
// in it is durable; that its new name is not yet is no harm, since the old one
// leads to the same records.
func (s *Spool) seal(seg *segment) error {
	path := filepath.Join(s.dir, sealedName(seg.first, seg.end))
	if err := s.fs.Rename(seg.path, path); err != nil {
		return fmt.Errorf("rename a complete spool segment: %w", err)
	}
	seg.path, seg.open, seg.retired = path, false, false
	s.closeFile(seg)
	return nil
}

func (s *Spool) sealOrLog(seg *segment) {
	if err := s.seal(seg); err != nil {
		// It is tried again after the next Sync.
		s.log.Warn("spool_segment_not_closed", "path", seg.path, "error", err)
	}
}

// closeFile closes a segment's file, whose bytes are durable or read only.
func (s *Spool) closeFile(seg *segment) {
	if seg.file == nil {
		return
	}
	if err := seg.file.Close(); err != nil {
		s.log.Warn("spool_segment_close_failed", "path", seg.path, "error", err)
	}
	seg.file = nil
}

// Publish lets Next return an entry that Sync has made durable, or pass over it
// when its batch is still in memory: then it waits for Done alone. Entries are
// published in the order in which they were appended.
func (s *Spool) Publish(e *Entry, inMemory bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seg := e.segment
	seg.published, seg.readable = e.end, e.End()
	s.committed = max(s.committed, e.End())
	if inMemory {
		seg.inMemory[e.first] = e
		seg.pinned++
		return
	}
	seg.unread += e.records
	s.unread += e.records
}

// Done ends the spool's custody of an entry that is in memory.
func (s *Spool) Done(e *Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.segment.pinned--
}

// Stats are what a spool says of itself.
type Stats struct {
	// Bytes is the size of the files.
	Bytes int64
	// Unread is the number of records that Next will return, or find damaged.
	Unread uint64
	// Segments is the number of files.
	Segments int
	// Aside are the files that were set aside, in this run and before.
	Aside []Aside
}

// Stats returns a snapshot.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Bytes: s.bytes, Unread: s.unread, Segments: len(s.segments),
		Aside: append([]Aside(nil), s.recovery.Aside...),
	}
}

// Unread returns the number of records that Next will return, or find damaged.
func (s *Spool) Unread() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unread
}

// End returns the number after the last record.
func (s *Spool) End() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next
}

// MaxBytes returns the bound on the size of the files.
func (s *Spool) MaxBytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.maxBytes
}

// Resize changes the bound on the size of the files. Those that there are stay.
func (s *Spool) Resize(maxBytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.maxBytes = maxBytes; s.proportional {
		s.segmentBytes = proportion(maxBytes)
	}
}

// proportion returns the size of the segments of a spool.
func proportion(maxBytes int64) int64 { return min(max(maxBytes/16, 64<<10), 16<<20) }

// Close closes the files. What was appended and not synced stays where it is,
// and is found by the next Open if the machine goes on.
func (s *Spool) Close() error {
	s.syncMu.Lock()
	defer s.syncMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	var errs []error
	for _, seg := range s.segments {
		if seg.file != nil {
			errs = append(errs, seg.file.Close())
			seg.file = nil
		}
	}
	return errors.Join(errs...)
}
