package localfile

import (
	"bytes"
	"container/list"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"log_capturer/internal/positions"
)

// Permissions of what the sink makes.
const (
	filePermissions = 0o640
	dirPermissions  = 0o750
)

// activeFile is a file that records are appended to. It is guarded by Sink.mu.
type activeFile struct {
	path string
	key  string
	// entry is what the journal holds of the file once the last request is
	// committed, and value its encoding.
	entry activeEntry
	value []byte
	// leftover is set when the file may hold bytes past its journaled length,
	// left by an attempt that failed or by an earlier process.
	leftover bool
	// lastWrite is when the file was last written to.
	lastWrite time.Time

	// handle is nil while the file is not open; place is its place among the
	// open ones, and used when it was last needed.
	handle handle
	place  *list.Element
	used   time.Time
}

// setEntry changes what the journal is to hold of the file.
func (f *activeFile) setEntry(e activeEntry) { f.entry, f.value = e, e.encode() }

// prepare returns the active file of a write: open, in agreement with the
// journal, and with room.
func (s *Sink) prepare(w *write) (*activeFile, error) {
	if f := s.active[w.path]; f != nil && f.entry.closing != "" {
		if err := s.finishRotation(f); err != nil {
			return nil, err
		}
	}
	f := s.active[w.path]
	if f == nil {
		return s.create(w)
	}
	switch err := s.reconcile(f); {
	case errors.Is(err, errAbsent):
		return s.create(w)
	case err != nil:
		return nil, err
	}
	if s.isFull(f, int64(len(w.data))) {
		if err := s.rotate(f); err != nil {
			return nil, err
		}
		return s.create(w)
	}
	return f, s.openHandle(f)
}

// create makes the active file of a write, or takes over a file that is there
// and that the journal does not know. The journal knows the file before its
// first byte is written.
func (s *Sink) create(w *write) (*activeFile, error) {
	dir := filepath.Dir(w.path)
	if err := s.fs.MkdirAll(dir, dirPermissions); err != nil {
		return nil, fmt.Errorf("create directory %q: %w", dir, err)
	}
	f := &activeFile{path: w.path, key: s.activeKey(w.path)}
	if err := s.openHandle(f); err != nil {
		return nil, err
	}
	err := s.takeOver(f, w.until)
	if err != nil {
		s.closeHandle(f)
		return nil, err
	}
	for ; dir == s.paths.root || isBelow(dir, s.paths.root); dir = filepath.Dir(dir) {
		s.unsynced.add(dir)
	}
	s.active[w.path] = f
	s.counters.active.Store(int64(len(s.active)))
	return f, nil
}

// takeOver commits the identity and length of an open file that the journal
// does not know.
func (s *Sink) takeOver(f *activeFile, until int64) error {
	st, err := s.fs.Stat(f.path)
	if err != nil {
		return fmt.Errorf("look at %q: %w", f.path, err)
	}
	e := activeEntry{identity: st.identity, until: until}
	if st.size > 0 {
		s.logger.Info("file_taken_over", "path", f.path, "bytes", st.size)
		e.first = st.modified.UnixNano()
	}
	return s.adopt(f, e, st.size)
}

// adopt commits e with the length that the file has, after ending a last line
// that has no end.
func (s *Sink) adopt(f *activeFile, e activeEntry, size int64) error {
	if err := s.openHandle(f); err != nil {
		return err
	}
	if size > 0 {
		var last [1]byte
		if _, err := f.handle.ReadAt(last[:], size-1); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read the end of %q: %w", f.path, err)
		}
		if last[0] != '\n' {
			if _, err := f.handle.Write([]byte{'\n'}); err != nil {
				return fmt.Errorf("append to %q: %w", f.path, err)
			}
			size++
			s.unsynced.add(f.path)
		}
	}
	e.length = size
	if err := s.commit(positions.Change{Key: f.key, Value: e.encode()}); err != nil {
		return err
	}
	f.setEntry(e)
	f.leftover = false
	f.lastWrite = s.now()
	return nil
}

// reconcile brings a file and what is known of it in line with the journal. It
// returns errAbsent, and the file is forgotten, when it is not there any more.
func (s *Sink) reconcile(f *activeFile) error {
	st, err := s.check(f.path, f.entry.identity)
	if errors.Is(err, errAbsent) {
		s.reportChange(f.path, changeAbsent)
		s.forget(f)
		return err
	}
	if err != nil {
		return fmt.Errorf("look at %q: %w", f.path, err)
	}
	if f.lastWrite.IsZero() {
		f.lastWrite = st.modified
	}
	value, known := s.journal.Get(f.key)
	if known && (f.leftover || !bytes.Equal(value, f.value)) {
		// What was written since the journal's entry was not committed, and
		// comes again.
		e, err := decodeActive(value)
		if err != nil {
			return err
		}
		f.setEntry(e)
		f.leftover = true
		if st.size > e.length {
			if err := s.cut(f, st.size); err != nil {
				return err
			}
			st.size = e.length
		}
		f.leftover = false
	}
	if !known || st.size != f.entry.length {
		change := changeGrown
		if st.size < f.entry.length {
			change = changeShortened
		}
		s.reportChange(f.path, change)
		return s.adopt(f, f.entry, st.size)
	}
	return nil
}

// cut removes what the file holds past its journaled length.
func (s *Sink) cut(f *activeFile, size int64) error {
	if err := s.openHandle(f); err != nil {
		return err
	}
	if err := f.handle.Truncate(f.entry.length); err != nil {
		return fmt.Errorf("cut %q back to %d bytes: %w", f.path, f.entry.length, err)
	}
	s.unsynced.add(f.path)
	s.counters.cut.Add(size - f.entry.length)
	s.logger.Info("file_cut_back", "path", f.path, "bytes", size-f.entry.length, "length", f.entry.length)
	return nil
}

// append writes the data of w to the end of f.
func (s *Sink) append(f *activeFile, w *write) error {
	s.unsynced.add(f.path)
	n, err := f.handle.Write(w.data)
	if err == nil && n < len(w.data) {
		err = io.ErrShortWrite
	}
	if err != nil {
		s.undo(f)
		return fmt.Errorf("append to %q: %w", f.path, err)
	}
	f.lastWrite = s.now()
	e := f.entry
	e.length += int64(n)
	e.until = w.until
	if e.first == 0 {
		e.first = f.lastWrite.UnixNano()
	}
	f.setEntry(e)
	return nil
}

// undo takes back what a failed attempt has written to f. What can't be taken
// back now is before the next write.
func (s *Sink) undo(f *activeFile) {
	f.leftover = true
	if err := s.reconcile(f); err != nil {
		s.logger.Debug("undo_failed", "path", f.path, "error", err)
	}
	s.closeHandle(f)
}

// isSettled reports whether the journal holds all that was written to f. When
// it does not, a request is between its Send and its commit.
func (s *Sink) isSettled(f *activeFile) bool {
	value, ok := s.journal.Get(f.key)
	return ok && !f.leftover && bytes.Equal(value, f.value)
}

// forget lets go of a file.
func (s *Sink) forget(f *activeFile) {
	s.closeHandle(f)
	delete(s.active, f.path)
	s.counters.active.Store(int64(len(s.active)))
}

// openHandle opens f unless it is open, and closes another one when there are
// too many.
func (s *Sink) openHandle(f *activeFile) error {
	f.used = s.now()
	if f.handle != nil {
		s.open.MoveToFront(f.place)
		return nil
	}
	for s.open.Len() >= s.maxOpen {
		s.closeHandle(s.open.Back().Value.(*activeFile))
	}
	// O_APPEND: should another program shorten the file, no hole is left.
	h, err := s.fs.OpenFile(f.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, filePermissions)
	if err != nil {
		return fmt.Errorf("open file: %w", err)
	}
	f.handle = h
	f.place = s.open.PushFront(f)
	s.counters.open.Store(int64(s.open.Len()))
	return nil
}

// closeHandle closes f if it is open. What was written stays to be synced.
func (s *Sink) closeHandle(f *activeFile) {
	if f.handle == nil {
		return
	}
	if err := f.handle.Close(); err != nil {
		s.maintenanceFailed(opClose, fmt.Errorf("close %q: %w", f.path, err))
	}
	s.open.Remove(f.place)
	f.handle, f.place = nil, nil
	s.counters.open.Store(int64(s.open.Len()))
}

// closeIdle closes the files that were not needed since the given time.
func (s *Sink) closeIdle(since time.Time) {
	for e := s.open.Back(); e != nil; e = s.open.Back() {
		f := e.Value.(*activeFile)
		if f.used.After(since) {
			return
		}
		s.closeHandle(f)
	}
}
