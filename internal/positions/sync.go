package positions

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"log_capturer/internal/vfs"
)

// OnSync registers a hook that is called before each fsync of the journal and
// must make durable whatever the keys committed until then stand for: bytes that
// a sink has written to files of its own, by this process or, when it did not
// get to it, by the one before. When a hook fails, so does the Sync. It is called
// until remove is, which no hook may do.
//
// A hook may call Get, All and Commit. What is committed while the hooks run is
// left to the next Sync: should the machine lose power before that, recovery
// drops it, even if the journal's fsync happened to save it.
func (j *Journal) OnSync(hook func() error) (remove func()) {
	j.syncMu.Lock()
	defer j.syncMu.Unlock()
	entry := &hook
	j.hooks = append(j.hooks, entry)
	return func() {
		j.syncMu.Lock()
		defer j.syncMu.Unlock()
		j.hooks = slices.DeleteFunc(j.hooks, func(h *func() error) bool { return h == entry })
	}
}

// Sync makes every Commit that returned before the call durable. It does nothing
// when all of them are. After an error it is not known which are; another Sync
// may succeed, and then all of them are.
func (j *Journal) Sync() error {
	j.syncMu.Lock()
	defer j.syncMu.Unlock()
	j.mu.Lock()
	closed := j.closed
	j.mu.Unlock()
	if closed {
		return ErrClosed
	}
	return j.sync()
}

// sync is Sync with syncMu held.
func (j *Journal) sync() error {
	j.mu.Lock()
	dirty, suspect := j.dirty, j.suspect
	j.mu.Unlock()
	var err error
	switch {
	case suspect:
		err = j.rewrite()
	case dirty:
		err = j.syncFile()
	default:
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.stats.syncErr = err
	if err != nil {
		j.stats.syncFailures++
		return fmt.Errorf("sync positions: %w", err)
	}
	j.stats.syncs++
	return nil
}

// syncFile fsyncs the file behind a mark that says what the hooks have covered.
func (j *Journal) syncFile() error {
	j.mu.Lock()
	covered := j.end
	j.mu.Unlock()
	if err := j.runHooks(); err != nil {
		return err
	}

	j.mu.Lock()
	before := j.end
	err := j.write(appendMark(nil, mark{boot: j.boot, covered: covered, synced: j.synced}))
	target, file := j.end, j.file
	if err == nil {
		j.fileBoot, j.covered = j.boot, covered
	}
	j.mu.Unlock()
	if err != nil {
		return err
	}

	err = file.Sync()
	j.mu.Lock()
	defer j.mu.Unlock()
	if err != nil {
		j.suspect = true
		return err
	}
	j.synced = target
	j.dirty = covered != before || j.end != target
	return nil
}

func (j *Journal) runHooks() error {
	for _, hook := range j.hooks {
		if err := (*hook)(); err != nil {
			return err
		}
	}
	return nil
}

// rewrite replaces the file by a new one that holds what is live. syncMu is
// held; Commits go on, and are held up only for what has to follow them into the
// new file. When it fails before the new file has its name, the old one stays in
// use.
func (j *Journal) rewrite() error {
	j.mu.Lock()
	snapshot := encodeSnapshot(j.entries, j.live, j.boot)
	generation := j.generation + 1
	j.following = true
	j.mu.Unlock()
	defer func() {
		j.mu.Lock()
		j.following, j.followed = false, nil
		j.mu.Unlock()
	}()

	if err := j.runHooks(); err != nil {
		return err
	}
	name := j.path(fileName(generation))
	file, err := j.writeTemp(name+tempSuffix, snapshot)
	if err != nil {
		return err
	}
	if err := j.switchTo(file, generation, int64(len(snapshot))); err != nil {
		// Whatever the rename did, the file must not be found by a later Open.
		_ = j.fs.Remove(name)
		return errors.Join(err, file.Close(), j.fs.Remove(name+tempSuffix))
	}
	if err := j.syncDir(); err != nil {
		j.mu.Lock()
		j.suspect = true
		j.mu.Unlock()
		return err
	}
	j.removeObsolete()
	j.mu.Lock()
	j.stats.rewrites++
	j.stats.compactErr = nil
	j.mu.Unlock()
	return nil
}

// writeTemp makes a durable file of these bytes. It leaves none behind when it
// fails.
func (j *Journal) writeTemp(name string, content []byte) (vfs.File, error) {
	file, err := j.fs.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create snapshot: %w", err)
	}
	if _, err = file.Write(content); err == nil {
		err = file.Sync()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write snapshot: %w", err), file.Close(), j.fs.Remove(name))
	}
	return file, nil
}

// switchTo gives the file of a snapshot, base bytes long, the records that were
// written since, and its name, and makes it the one that is written to.
//
// The records need no fsync before the rename: no Sync has promised them, since
// this one has syncMu.
func (j *Journal) switchTo(file vfs.File, generation uint64, base int64) error {
	name := j.path(fileName(generation))
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.followed) > 0 {
		if _, err := file.Write(j.followed); err != nil {
			return fmt.Errorf("write snapshot: %w", err)
		}
	}
	if err := j.fs.Rename(name+tempSuffix, name); err != nil {
		return fmt.Errorf("name snapshot: %w", err)
	}
	if j.file != nil {
		j.obsolete = append(j.obsolete, j.path(fileName(j.generation)))
		if err := j.file.Close(); err != nil {
			j.log.Warn("close_replaced_journal_failed", "error", err)
		}
	}
	j.file, j.generation, j.fileBoot = file, generation, j.boot
	j.covered, j.synced = base, base
	j.end = base + int64(len(j.followed))
	j.dirty = len(j.followed) > 0
	j.torn, j.suspect = false, false
	return nil
}

// removeObsolete removes the files that the present one, now durable, has
// replaced. What cannot be removed is tried again after the next rewrite, and by
// the next Open.
func (j *Journal) removeObsolete() {
	j.mu.Lock()
	obsolete := j.obsolete
	j.obsolete = nil
	j.mu.Unlock()
	var kept []string
	for _, path := range obsolete {
		if err := j.fs.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			j.log.Warn("remove_replaced_journal_failed", "path", path, "error", err)
			kept = append(kept, path)
		}
	}
	j.mu.Lock()
	j.obsolete = append(j.obsolete, kept...)
	j.mu.Unlock()
}

// grown reports whether the file is worth compacting.
func (j *Journal) grown() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.end > j.compactBytes && j.end > 2*(j.live+headerSize)
}

// compact rewrites the file to give space back.
func (j *Journal) compact() error {
	j.syncMu.Lock()
	defer j.syncMu.Unlock()
	err := j.rewrite()
	j.mu.Lock()
	defer j.mu.Unlock()
	if err != nil {
		j.stats.compactErr = err
		return fmt.Errorf("compact positions: %w", err)
	}
	return nil
}

// compactPause is how long Run leaves a compaction alone that has failed.
const compactPause = time.Minute

// Run fsyncs the journal every SyncInterval when there is something to fsync,
// and compacts it when it has grown. What fails is logged, shown by Health, and
// tried again. When ctx ends it syncs a last time and returns that error.
func (j *Journal) Run(ctx context.Context) error {
	ticker := time.NewTicker(j.syncInterval)
	defer ticker.Stop()
	warn := warner{log: j.log, every: time.Minute}
	var compactAfter time.Time
	for {
		select {
		case <-ctx.Done():
			return j.Sync()
		case now := <-ticker.C:
			err := j.Sync()
			if err == nil && j.grown() && !now.Before(compactAfter) {
				if err = j.compact(); err != nil {
					compactAfter = now.Add(compactPause)
				}
			}
			warn.report(now, err)
		}
	}
}
