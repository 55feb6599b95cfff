package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"log_capturer/internal/record"
)

// ErrFull is returned by Append when the entry does not fit under MaxBytes.
var ErrFull = errors.New("spool is full")

// ErrVoid is returned by AppendAll when a Sync that failed has taken what was to
// come before.
var ErrVoid = errors.New("a sync of the spool that failed has taken the entry before")

// Item is a batch to append: from Start on, its sink wants this many of its records.
type Item struct {
	Batch   *record.Batch
	Start   [record.NumStreams]int
	Records int
}

// Append appends one batch, whatever was before.
func (s *Spool) Append(b *record.Batch, start [record.NumStreams]int, records int) (*Entry, error) {
	entries, err := s.AppendAll(nil, []Item{{b, start, records}})
	if err != nil {
		return nil, err
	}
	return entries[0], nil
}

// AppendAll writes batches of one source behind what is there, in one step: of what
// a Sync that fails takes, there is nothing that comes after it. After is the
// source's last entry that is not settled, nil for none; when that is void already,
// nothing is appended. What is appended is not durable before Sync, and not read
// before Publish. The batches stay the caller's.
//
// The error is ErrVoid, ErrFull, or one of the disk. The entries that were appended
// before it are returned with it.
func (s *Spool) AppendAll(after *Entry, items []Item) (entries []*Entry, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, os.ErrClosed
	}
	if after != nil && after.void {
		return nil, ErrVoid
	}
	for _, it := range items {
		e, err := s.append(it.Batch, it.Start, it.Records)
		if err != nil {
			return entries, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// append writes one batch, or nothing.
func (s *Spool) append(b *record.Batch, start [record.NumStreams]int, records int) (*Entry, error) {
	payload := s.encoder.encode(b, start)
	size := int64(frameSize + len(payload))
	seg := s.active()
	if seg == nil {
		size += headerSize
	}
	if s.reserved == 0 {
		size += s.reserveSize()
	}
	if s.maxBytes == 0 || len(s.segments) > 0 && s.bytes+size > s.maxBytes {
		return nil, ErrFull
	}
	seg, err := s.writable()
	if err != nil {
		s.noRoom(err)
		return nil, err
	}
	s.frame = appendFrame(keep(s.frame), s.next, records, payload)
	n, err := seg.file.Write(s.frame)
	if err == nil && n < len(s.frame) {
		err = io.ErrShortWrite
	}
	if err != nil {
		seg.torn = true
		err = errors.Join(fmt.Errorf("write spool: %w", err), s.mend(seg))
		s.noRoom(err)
		return nil, err
	}
	e := &Entry{first: s.next, records: uint64(records), off: seg.size, end: seg.size + int64(len(s.frame)), segment: seg}
	seg.size = e.end
	s.next = e.End()
	s.bytes += int64(len(s.frame))
	s.unsynced = append(s.unsynced, e)
	return e, nil
}

// active returns the segment that is written to, nil when there is none.
func (s *Spool) active() *segment {
	if n := len(s.segments); n > 0 && s.segments[n-1].open {
		return s.segments[n-1]
	}
	return nil
}

// writable returns a segment that can be written to.
func (s *Spool) writable() (*segment, error) {
	seg := s.active()
	if seg != nil && seg.retired {
		if err := s.retire(seg); err != nil {
			return nil, err
		}
		seg = s.active()
	}
	if err := s.fs.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make spool directory: %w", err)
	}
	if err := s.takeReserve(); err != nil {
		return nil, fmt.Errorf("make the spool's reserve: %w", err)
	}
	if seg != nil {
		return seg, s.mend(seg)
	}
	path := filepath.Join(s.dir, openName(s.next))
	// A file of this name is what a begin that failed has left, or what could not be
	// removed of a segment without an entry. That one must not be removed any more.
	file, err := s.fs.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create spool segment: %w", err)
	}
	s.segments = slices.DeleteFunc(s.segments, func(old *segment) bool {
		if old.path == path {
			s.bytes -= old.size
		}
		return old.path == path
	})
	n, err := file.Write(appendHeader(nil, s.next))
	if err == nil && n < headerSize {
		err = io.ErrShortWrite
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write spool segment: %w", err), file.Close(), s.fs.Remove(path))
	}
	seg = &segment{
		first: s.next, path: path, file: file, open: true, size: headerSize,
		synced: headerSize, published: headerSize, end: s.next, readable: s.next,
		readOff: headerSize, readNum: s.next, inMemory: map[uint64]*Entry{},
	}
	s.segments = append(s.segments, seg)
	s.bytes += headerSize
	return seg, nil
}

// mend cuts off what a failed write has left behind the last entry.
func (s *Spool) mend(seg *segment) error {
	if !seg.torn {
		return nil
	}
	if err := seg.file.Truncate(seg.size); err != nil {
		return fmt.Errorf("cut off a torn entry of the spool: %w", err)
	}
	seg.torn = false
	return nil
}
