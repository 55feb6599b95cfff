package localfile

import (
	"errors"
	"fmt"
	"os"
	"sync"
)

// unsyncedSet holds the paths of files and directories that were written to
// since they were last synced. Its lock is never held while the journal or the
// disk is waited for.
type unsyncedSet struct {
	fs fileSystem

	mu    sync.Mutex
	paths map[string]struct{}
}

func (u *unsyncedSet) add(path string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.paths == nil {
		u.paths = map[string]struct{}{}
	}
	u.paths[path] = struct{}{}
}

func (u *unsyncedSet) take() map[string]struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	paths := u.paths
	u.paths = nil
	return paths
}

// sync syncs everything in the set. Files are opened anew, which syncs what was
// written through any handle, so that no file needs to stay open for it. The
// journal calls it before it goes to disk.
func (s *Sink) sync() error {
	u := &s.unsynced
	var errs []error
	var failed []string
	// A file that is renamed meanwhile is in the set again by its new name.
	for again := true; again; {
		again = false
		for path := range u.take() {
			switch err := syncPath(u.fs, path); {
			case isAbsent(err):
				again = true
			case err != nil:
				errs = append(errs, err)
				failed = append(failed, path)
			}
		}
	}
	for _, path := range failed {
		u.add(path)
	}
	err := explain(errors.Join(errs...))
	if err != nil {
		s.counters.errors[opSync].Add(1)
	}
	s.troubles.synced(err)
	return err
}

// syncPath syncs one file or directory.
func syncPath(fs fileSystem, path string) error {
	h, err := fs.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("sync file: %w", err)
	}
	err = h.Sync()
	if closeErr := h.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("sync %q: %w", path, err)
	}
	return nil
}
