package localfile

import (
	"errors"
	"path/filepath"
	"strings"

	"log_capturer/internal/positions"
)

// recover brings the files in line with the journal, before the first Send.
// The caller holds s.mu.
//
// An active file is cut back to its journaled length; a rotation that was
// interrupted is finished. What fails here is tried again when the file is next
// needed.
func (s *Sink) recover() {
	// All may hold the journal's lock, so nothing is committed while it runs.
	for key, value := range s.journal.All(s.activePrefix()) {
		path := strings.TrimPrefix(key, s.activePrefix())
		e, err := decodeActive(value)
		if err != nil {
			s.maintenanceFailed(opRecover, err)
			continue
		}
		f := &activeFile{path: path, key: key, leftover: e.closing == ""}
		f.setEntry(e)
		s.active[path] = f
	}
	for key, value := range s.journal.All(s.closedPrefix()) {
		e, err := decodeClosed(value)
		if err != nil {
			s.maintenanceFailed(opRecover, err)
			continue
		}
		s.closed[strings.TrimPrefix(key, s.closedPrefix())] = e
	}
	// The process before may have ended before its last sync.
	for path := range s.active {
		s.unsynced.add(path)
		s.unsynced.add(filepath.Dir(path))
	}
	for path, c := range s.closed {
		if !isCompressed(path, c) {
			s.unsynced.add(path)
			s.unsynced.add(filepath.Dir(path))
		}
	}
	for _, f := range s.active {
		if err := s.recoverActive(f); err != nil {
			s.maintenanceFailed(opRecover, err)
		}
	}
	for path, c := range s.closed {
		if err := s.recoverClosed(path, c); err != nil {
			s.maintenanceFailed(opRecover, err)
		}
	}
	s.counters.active.Store(int64(len(s.active)))
	s.countClosed()
}

func (s *Sink) recoverActive(f *activeFile) error {
	if f.entry.closing != "" {
		return s.finishRotation(f)
	}
	err := s.reconcile(f)
	if errors.Is(err, errAbsent) {
		return s.drop(f)
	}
	return err
}

// recoverClosed brings a closed file in line with the journal. A compression
// may have been interrupted: before its rename there is a temporary file;
// after it, both files are there and the compressed one is made again; after
// the removal of the original, only the journal has to learn of it.
func (s *Sink) recoverClosed(path string, c closedEntry) error {
	_, err := s.check(path, c.identity)
	if err != nil && !errors.Is(err, errAbsent) {
		return err
	}
	there := err == nil
	if isCompressed(path, c) {
		if !there {
			return s.dropClosed(path)
		}
		return nil
	}
	for _, method := range []Compression{Zstd, Gzip} {
		compressed := path + method.extension()
		if err := s.removeIfThere(compressed + temporaryExtension); err != nil {
			return err
		}
		if there {
			if err := s.removeIfThere(compressed); err != nil {
				return err
			}
			continue
		}
		st, err := s.fs.Stat(compressed)
		if isAbsent(err) {
			continue
		}
		if err != nil {
			return err
		}
		return s.replaceClosed(path, compressed, c, st)
	}
	if !there {
		return s.dropClosed(path)
	}
	return nil
}

func (s *Sink) removeIfThere(path string) error {
	if err := s.fs.Remove(path); err != nil && !isAbsent(err) {
		return err
	}
	return nil
}

// replaceClosed puts a closed file's compressed one, of status st, into its
// place in the journal.
func (s *Sink) replaceClosed(path, compressed string, c closedEntry, st status) error {
	c.length, c.identity = st.size, st.identity
	err := s.commit(
		positions.Change{Key: s.closedKey(path)},
		positions.Change{Key: s.closedKey(compressed), Value: c.encode()},
	)
	if err != nil {
		return err
	}
	delete(s.closed, path)
	s.closed[compressed] = c
	s.countClosed()
	return nil
}

// dropClosed forgets a closed file, in the journal too.
func (s *Sink) dropClosed(path string) error {
	if err := s.commit(positions.Change{Key: s.closedKey(path)}); err != nil {
		return err
	}
	delete(s.closed, path)
	s.countClosed()
	return nil
}

// countClosed brings the gauges of closed files up to date.
func (s *Sink) countClosed() {
	var size int64
	for _, c := range s.closed {
		size += c.length
	}
	s.counters.closed.Store(int64(len(s.closed)))
	s.counters.closedBytes.Store(size)
}
