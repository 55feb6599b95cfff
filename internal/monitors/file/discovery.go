package file

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"log_capturer/internal/record"
	"log_capturer/internal/tail"
)

const (
	// goneAfter is how long a file that is gone stays in the table, in case
	// another one takes its name.
	goneAfter = time.Minute
	// burst is how long new files are waited for to come together.
	burst = 50 * time.Millisecond
)

// discover looks for files until ctx is done. Run starts it and waits.
func (m *Monitor) discover(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		case <-m.appeared:
			timer.Reset(burst)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-timer.C:
			}
		}
		m.scan(time.Now())
		timer.Reset(m.opts.ScanInterval)
	}
}

// scan looks for the patterns once.
func (m *Monitor) scan(now time.Time) {
	found, dirs, err := m.find()
	m.watch(dirs)
	if problem := m.set.WatchProblem(); problem != nil && !m.toldProblem {
		m.toldProblem = true
		m.logger.Warn("files_are_polled", "reason", problem)
	}
	inodes := m.inodes()
	for _, path := range found {
		if id, isNew := m.isNew(path, inodes); isNew {
			inodes[id] = true
			m.add(path, now)
		}
	}
	for path := range m.aliases {
		if _, there := slices.BinarySearch(found, path); !there {
			delete(m.aliases, path)
		}
	}
	m.retire(found, now)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil && (m.scanError == nil || m.scanError.Error() != err.Error()) {
		m.logger.Warn("scan_failed", "error", err)
	}
	m.scanError = err
	if !m.scanned {
		m.scanned = true
		m.adopt(now)
	}
	m.forget(now)
}

// find returns the paths of the files to capture, sorted, and the directories in
// which others may appear.
func (m *Monitor) find() (found []string, dirs map[string]bool, err error) {
	dirs = map[string]bool{}
	seen := map[string]bool{}
	for i := range m.opts.Files {
		for _, p := range m.opts.Files[i].Include {
			walkErr := p.Walk(func(dir string) { dirs[dir] = true }, func(path string) { seen[path] = true })
			if err == nil {
				err = walkErr
			}
		}
	}
	m.mu.Lock()
	followed := make(map[string]bool, len(m.table))
	for path := range m.table {
		followed[path] = true
	}
	m.mu.Unlock()
	for path := range seen {
		if followed[path] {
			found = append(found, path)
			continue
		}
		if _, _, ok := m.match(path); ok && !isRotated(path, seen, followed) && !isLink(path, seen, followed) {
			found = append(found, path)
		}
	}
	slices.Sort(found)
	return found, dirs, err
}

// isRotated reports whether a file is what another one was rotated to: one that
// was found, or that is followed although it is not there at the moment.
func isRotated(path string, found, followed map[string]bool) bool {
	dir, name := filepath.Split(path)
	return slices.ContainsFunc(tail.Bases(name), func(base string) bool { return found[dir+base] || followed[dir+base] })
}

// isLink reports whether a path is another name of a file that was found, or that
// is followed.
func isLink(path string, found, followed map[string]bool) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return false
	}
	target, err := filepath.EvalSymlinks(path)
	return err == nil && target != path && (found[target] || followed[target])
}

// watch has the set tell of what appears in dirs, and in no others.
func (m *Monitor) watch(dirs map[string]bool) {
	for dir := range dirs {
		if !m.dirs[dir] {
			m.set.WatchDir(dir)
		}
	}
	for dir := range m.dirs {
		if !dirs[dir] {
			m.set.UnwatchDir(dir)
		}
	}
	m.dirs = dirs
}

// inode identifies a file by the number that its device has for it.
type inode struct{ device, number uint64 }

// inodes returns the files that are being followed.
func (m *Monitor) inodes() map[inode]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make(map[inode]bool, len(m.table))
	for _, s := range m.table {
		list[inode{s.device.Load(), s.inode.Load()}] = true
	}
	return list
}

// isNew reports whether nothing follows the file at path yet, not even under
// another name that it has or had.
func (m *Monitor) isNew(path string, followed map[inode]bool) (inode, bool) {
	m.mu.Lock()
	known := m.table[path] != nil
	m.mu.Unlock()
	if known {
		delete(m.aliases, path)
		return inode{}, false
	}
	info, err := stat(path)
	if err != nil {
		return inode{}, false // it is gone again, or tried again with the next look
	}
	var id inode
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		id = inode{uint64(sys.Dev), sys.Ino} //nolint:unconvert // Dev is narrower elsewhere
	}
	if followed[id] {
		m.aliases[path] = id
	}
	return id, !followed[id] && m.aliases[path] != id
}

func stat(path string) (fs.FileInfo, error) { return os.Stat(path) }

// add begins to follow a file.
func (m *Monitor) add(path string, now time.Time) {
	files, labels, ok := m.match(path)
	if !ok {
		return
	}
	s := &source{
		path: path, format: files.Format, maxLine: m.opts.MaxLineBytes, sink: m.opts.Dispatcher, lister: &m.lister, logger: m.logger,
		record: describe(path, m.opts.Host, labels),
	}
	m.mu.Lock()
	s.cleanEnd = m.orphans[s.record.Key].ended
	first := !m.scanned
	m.mu.Unlock()
	atEnd := false
	if first && (m.opts.Since.IsZero() || !born(path).After(m.opts.Since)) {
		switch info, err := stat(path); {
		case files.StartAtEnd:
			atEnd = true
		case files.StartAge > 0 && err == nil:
			atEnd = now.Sub(info.ModTime()) > files.StartAge
		}
	}
	if err := s.begin(atEnd, m.opts.RotateWait); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			m.refuse(path, err)
		}
		return
	}
	m.mu.Lock()
	m.table[path] = s
	delete(m.refused, path)
	delete(m.orphans, s.record.Key)
	m.mu.Unlock()
	s.member.Store(m.set.Add(s.reader, s.step))
}

// refuse enters a file that can't be opened, which is tried again with the next
// look.
func (m *Monitor) refuse(path string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refused[path] == "" {
		m.logger.Warn("file_unreadable", "path", path, "error", err)
	}
	m.refused[path] = err.Error()
}

// describe describes a file in records.
func describe(path, host string, labels map[string]string) *record.Source {
	src := &record.Source{Key: keyPrefix + path, Host: host, FilePath: path, Labels: labels}
	describePod(src)
	return src
}

// retire takes out files that are gone for long, or that were gone before they
// could be opened.
func (m *Monitor) retire(found []string, now time.Time) {
	m.mu.Lock()
	for path := range m.refused {
		if _, there := slices.BinarySearch(found, path); !there {
			delete(m.refused, path)
		}
	}
	var gone []*source
	for path, s := range m.table {
		if _, there := slices.BinarySearch(found, path); there {
			continue
		}
		since := s.endedAt.Load()
		if s.inode.Load() == 0 || since != 0 && now.Sub(time.Unix(0, since)) > goneAfter {
			gone = append(gone, s)
		}
	}
	m.mu.Unlock()
	for _, s := range gone {
		if member := s.member.Load(); member != nil {
			member.Remove() // waits for the step that may be under way
		}
		s.drop()
		m.mu.Lock()
		delete(m.table, s.path)
		m.retired.add(s)
		m.orphans[s.record.Key] = orphan{since: now, ended: s.endedAt.Load() != 0}
		m.mu.Unlock()
	}
}

// adopt takes in the positions of files that were not found. The caller holds
// m.mu.
func (m *Monitor) adopt(now time.Time) {
	for _, key := range m.opts.Known() {
		path, ours := strings.CutPrefix(key, keyPrefix)
		if ours && m.table[path] == nil {
			m.orphans[key] = orphan{since: now}
		}
	}
}

// forget removes positions of files that are gone for long. The caller holds
// m.mu.
func (m *Monitor) forget(now time.Time) {
	for key, o := range m.orphans {
		if now.Sub(o.since) < m.opts.PositionRetention {
			continue
		}
		if err := m.opts.Dispatcher.Forget(key); err != nil {
			m.logger.Warn("forget_position", "source", key, "error", err)
			continue
		}
		delete(m.orphans, key)
	}
}
