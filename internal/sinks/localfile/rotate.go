package localfile

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"log_capturer/internal/positions"
)

// lateness is how long after the end of its path's time a file waits for late
// records, since the last one.
const lateness = time.Hour

// isFull reports whether f must be closed before n more bytes are written.
func (s *Sink) isFull(f *activeFile, n int64) bool {
	if f.entry.length == 0 {
		return false
	}
	limit := s.opts.Rotate.MaxBytes
	return limit > 0 && f.entry.length+n > limit || s.isOld(f)
}

// isOld reports whether the age of f's first record has come to its limit.
func (s *Sink) isOld(f *activeFile) bool {
	limit := s.opts.Rotate.MaxAge
	return limit > 0 && f.entry.first != 0 && s.now().UnixNano()-f.entry.first >= int64(limit)
}

// isOver reports whether f has come to its end although nobody writes to it:
// it is old, its path's time has passed, or it was idle for as long as closed
// files are kept.
func (s *Sink) isOver(f *activeFile) bool {
	if f.entry.length == 0 {
		return false
	}
	idle := s.now().Sub(f.lastWrite)
	return s.isOld(f) ||
		f.entry.until != 0 && s.now().UnixNano() >= f.entry.until+int64(lateness) && idle >= lateness ||
		s.opts.Retention.MaxAge > 0 && idle >= s.opts.Retention.MaxAge
}

// rotate closes f, which agrees with the journal. The steps are
//
//  1. commit the name that f is to have;
//  2. rename it;
//  3. commit it as a closed file, and no active one.
//
// The process may end after each: finishRotation goes on from there. No byte is
// written between the first step and the last.
func (s *Sink) rotate(f *activeFile) error {
	closing, err := s.freeClosedName(f.path)
	if err != nil {
		return err
	}
	e := f.entry
	e.closing = closing
	if err := s.commit(positions.Change{Key: f.key, Value: e.encode()}); err != nil {
		return err
	}
	f.setEntry(e)
	return s.finishRotation(f)
}

// finishRotation goes on with a rotation whose first step was done. Afterwards
// f is no active file any more.
func (s *Sink) finishRotation(f *activeFile) error {
	closing := f.entry.closing
	switch _, err := s.fs.Stat(closing); {
	case isAbsent(err):
		_, err := s.check(f.path, f.entry.identity)
		if errors.Is(err, errAbsent) {
			s.reportChange(f.path, changeAbsent)
			return s.drop(f)
		}
		if err != nil {
			return fmt.Errorf("look at %q: %w", f.path, err)
		}
		s.closeHandle(f)
		s.unsynced.add(closing)
		s.unsynced.add(filepath.Dir(closing))
		if err := s.fs.Rename(f.path, closing); err != nil {
			return fmt.Errorf("rotate file: %w", err)
		}
	case err != nil:
		return fmt.Errorf("look at %q: %w", closing, err)
	}
	st, err := s.check(closing, f.entry.identity)
	if errors.Is(err, errAbsent) {
		// Another program has taken the name meanwhile.
		return s.rotate(f)
	}
	if err != nil {
		return fmt.Errorf("look at %q: %w", closing, err)
	}
	if f.lastWrite.IsZero() {
		f.lastWrite = st.modified
	}
	c := closedEntry{
		length: st.size, identity: f.entry.identity,
		last: f.lastWrite.UnixNano(), closed: s.now().UnixNano(), active: f.path,
	}
	err = s.commit(
		positions.Change{Key: f.key},
		positions.Change{Key: s.closedKey(closing), Value: c.encode()},
	)
	if err != nil {
		return err
	}
	s.forget(f)
	s.closed[closing] = c
	s.countClosed()
	s.counters.rotations.Add(1)
	select {
	case s.wake <- struct{}{}:
	default: // Run has been told already
	}
	return nil
}

// drop forgets f, in the journal too.
func (s *Sink) drop(f *activeFile) error {
	if err := s.commit(positions.Change{Key: f.key}); err != nil {
		return err
	}
	s.forget(f)
	return nil
}

// freeClosedName returns a name for the closed file of path that no file has,
// compressed or not.
func (s *Sink) freeClosedName(path string) (string, error) {
	now := s.now()
	for n := 1; ; n++ {
		name := closedName(path, now, n)
		free := true
		for _, ext := range []string{"", Zstd.extension(), Gzip.extension()} {
			_, known := s.closed[name+ext]
			_, err := s.fs.Stat(name + ext)
			if err != nil && !isAbsent(err) {
				return "", fmt.Errorf("look for a free name: %w", err)
			}
			free = free && !known && err != nil
		}
		if free {
			return name, nil
		}
	}
}
