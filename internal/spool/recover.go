package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"log_capturer/internal/record"
	"log_capturer/internal/vfs"
)

// Recovery is what Open found.
type Recovery struct {
	// Records is the number of records that Next will return, or find damaged.
	Records uint64
	// TornBytes is the length of incomplete writes that were cut off. Nobody
	// had custody of what was in them.
	TornBytes int64
	// Aside are the damaged files that were kept, by earlier runs too.
	Aside []Aside
}

// Aside is a damaged segment that was kept under another name.
type Aside struct {
	Path string `json:"path"`
	// Held is the number of records that it held, Lost how many of them could
	// not be read; the others were delivered.
	Held uint64 `json:"held"`
	Lost uint64 `json:"lost"`
	// Reason is what was wrong; it is not known of those of earlier runs.
	Reason string `json:"reason,omitempty"`
}

// Open opens the spool in dir, where there need not be one yet. That no other
// process has it open is left to the lock on the positions. Damaged content is
// no error.
func Open(dir string, opts Options) (*Spool, error) {
	s := &Spool{
		dir: dir, fs: opts.FS, log: opts.Logger, maxBytes: opts.MaxBytes,
		segmentBytes: opts.SegmentBytes, committed: opts.Committed, next: opts.Committed,
	}
	if s.fs == nil {
		s.fs = vfs.OS{}
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.segmentBytes <= 0 {
		s.proportional = true
		s.segmentBytes = proportion(s.maxBytes)
	}
	if err := s.recover(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	r := s.recovery
	if r.Records > 0 || r.TornBytes > 0 {
		s.log.Info("spool_recovered", "dir", dir, "records", r.Records, "torn_bytes", r.TornBytes)
	}
	return s, nil
}

// Recovery returns what Open found.
func (s *Spool) Recovery() Recovery {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.recovery
	r.Aside = slices.Clone(r.Aside)
	return r
}

// Uncommitted calls visit with every entry that Open found behind
// Options.Committed: it is durable, and the caller has not heard of it. Call it
// before Next. The batch is the caller's during the call.
func (s *Spool) Uncommitted(committed uint64, visit func(*record.Batch)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seg := range s.segments {
		if seg.end <= committed {
			continue
		}
		off, number, failures := seg.readOff, seg.readNum, 0
		for seg.readNum < seg.readable {
			f, err := s.read(seg)
			if err != nil {
				if failures++; failures < maxReadFailures && !errors.Is(err, errDamaged) {
					continue
				}
				failures = 0
				at, next := s.resync(seg)
				s.move(seg, at, next)
				continue
			}
			if f.first >= committed {
				b, _, err := s.decoder.decode(s.buffer[frameSize:f.size()])
				if err == nil {
					visit(b)
					b.Release()
				}
			}
			s.move(seg, seg.readOff+f.size(), f.first+uint64(f.records))
		}
		s.move(seg, off, number)
		s.closeFile(seg)
	}
	return nil
}

// recover reads the directory and makes every segment a sealed one.
func (s *Spool) recover() error {
	entries, err := s.fs.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list spool: %w", err)
	}
	var found []parsed
	for _, e := range entries {
		p, ok := parseName(e.Name())
		switch {
		case !ok:
		case p.suffix == asideSuffix:
			s.recovery.Aside = append(s.recovery.Aside, Aside{
				Path: filepath.Join(s.dir, p.name()), Held: p.end - p.first, Lost: p.lost,
			})
			s.next = max(s.next, p.end)
		default:
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b parsed) int {
		// A segment that was written anew comes after what it replaces, of which
		// nothing counts then.
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.suffix, b.suffix), cmp.Compare(a.end, b.end))
	})
	if len(found) > 0 {
		// A name that is seen may not be durable. What it replaces must not be cut
		// before it is.
		if err := s.fs.SyncDir(s.dir); err != nil {
			return fmt.Errorf("sync spool directory: %w", err)
		}
	}
	for i, p := range found {
		limit := ^uint64(0)
		if i+1 < len(found) {
			// What a segment holds beyond the beginning of the next one was
			// given up: an fsync of it had failed.
			limit = found[i+1].first
		}
		if err := s.recoverSegment(p, limit); err != nil {
			return err
		}
	}
	for _, seg := range s.segments {
		s.next = max(s.next, seg.end)
		s.bytes += seg.size
		s.unread += seg.unread
	}
	if len(s.segments) > 0 {
		// Whether the run that made them got to it is not known.
		if err := errors.Join(s.fs.SyncDir(s.dir), s.place()); err != nil {
			return fmt.Errorf("sync spool directory: %w", err)
		}
		s.placed = true
	}
	s.findReserve()
	s.recovery.Records = s.unread
	s.committed = s.next
	return nil
}

// recoverSegment takes over a segment, up to the number limit.
func (s *Spool) recoverSegment(p parsed, limit uint64) error {
	path := filepath.Join(s.dir, p.name())
	file, err := s.fs.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("open spool segment: %w", err)
	}
	seg := &segment{
		first: p.first, path: path, file: file, open: p.suffix == openSuffix,
		readOff: headerSize, readNum: p.first, inMemory: map[uint64]*Entry{}, named: true,
	}
	err = s.look(seg, min(limit, p.end), limit)
	if err == nil && seg.open {
		err = s.closeOpen(seg)
	}
	if err != nil {
		s.closeFile(seg)
		return fmt.Errorf("recover spool segment %q: %w", path, err)
	}
	s.closeFile(seg)
	if seg.end == seg.first && !seg.open && seg.damaged == "" {
		if err := s.fs.Remove(seg.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove an empty spool segment: %w", err)
		}
		return nil
	}
	seg.unread = seg.end - seg.first
	s.segments = append(s.segments, seg)
	return nil
}

// look sets what a segment holds: by its name when it is sealed, by its content
// when it is not.
func (s *Spool) look(seg *segment, end, limit uint64) error {
	info, err := seg.file.Stat()
	if err != nil {
		return err
	}
	seg.size = info.Size()
	head := make([]byte, min(headerSize, seg.size))
	if _, err := seg.file.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	headErr := checkHeader(head, seg.first)
	if errors.Is(headErr, errVersion) {
		return headErr
	}
	seg.synced, seg.published = seg.size, seg.size
	if seg.open {
		if err := s.scan(seg, limit); err != nil {
			return err
		}
	} else {
		seg.end, seg.readable = end, end
	}
	if headErr != nil && seg.end > seg.first {
		seg.damaged = headErr.Error()
	}
	return nil
}

// scan finds the end of a segment that was written to when the last run ended.
// From the first damage on that lies behind what was in custody it is a torn
// write; what lies before that was damaged, and stays for Next to find.
func (s *Spool) scan(seg *segment, limit uint64) error {
	seg.readable = limit
	failures := 0
	for seg.readNum < limit {
		f, err := s.read(seg)
		if err == nil {
			s.move(seg, seg.readOff+f.size(), f.first+uint64(f.records))
			continue
		}
		if !errors.Is(err, errDamaged) {
			if failures++; failures < maxReadFailures {
				continue
			}
			return err
		}
		if seg.readNum >= s.committed || seg.readOff >= seg.size {
			break
		}
		off, number := s.resync(seg)
		if number == limit {
			break // nothing whole follows
		}
		s.move(seg, off, number)
	}
	end, off := seg.readNum, seg.readOff
	s.move(seg, headerSize, seg.first)
	if known := min(s.committed, limit); end < known {
		// The end of what was in custody is gone. Next will find it so, and
		// count it; the file stays as it is.
		end, off = known, seg.size
	}
	seg.end, seg.readable = end, end
	seg.synced, seg.published = off, off
	return nil
}

// closeOpen makes a segment that was written to a sealed one: its torn end is
// cut off, and it is written anew when it holds what nobody is known to have had
// custody of. An fsync of that may have failed in the run that wrote it, and the
// kernel then takes the bytes for clean.
func (s *Spool) closeOpen(seg *segment) error {
	if torn := seg.size - seg.published; torn > 0 {
		s.recovery.TornBytes += torn
		if err := seg.file.Truncate(seg.published); err != nil {
			return err
		}
		seg.size = seg.published
	}
	if seg.end <= seg.first {
		seg.open, seg.damaged = false, "" // to be removed
		return nil
	}
	path := filepath.Join(s.dir, sealedName(seg.first, seg.end))
	old := seg.path
	if seg.end > s.committed {
		temp := filepath.Join(s.dir, tempName)
		if err := s.copyTo(temp, seg); err != nil {
			return err
		}
		old = temp
	}
	if err := s.fs.Rename(old, path); err != nil {
		return err
	}
	if err := s.fs.SyncDir(s.dir); err != nil {
		return err
	}
	if old != seg.path {
		if err := s.fs.Remove(seg.path); err != nil {
			return err
		}
	}
	seg.path, seg.open = path, false
	return nil
}

// tempName is the name of a segment that is being written anew. What is left of
// it is overwritten by the next one.
const tempName = "rewrite.tmp"

// copyTo makes a durable copy of a segment.
func (s *Spool) copyTo(path string, seg *segment) error {
	to, err := s.fs.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, io.NewSectionReader(seg.file, 0, seg.size))
	if err == nil {
		err = to.Sync()
	}
	return errors.Join(err, to.Close())
}
