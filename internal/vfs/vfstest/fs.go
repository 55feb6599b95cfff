package vfstest

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"log_capturer/internal/vfs"
)

// OpenFile implements vfs.FS.
func (d *Disk) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.openFile(clean(name), flag, perm)
	if err != nil {
		return nil, err
	}
	d.open++
	return &file{disk: d, node: n, name: name, flag: flag, epoch: d.epoch}, nil
}

func (d *Disk) openFile(name string, flag int, perm fs.FileMode) (*node, error) {
	if err := d.fail(Open, name); err != nil {
		return nil, err
	}
	fail := func(err error) (*node, error) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	n := d.live[name]
	switch {
	case n == nil && flag&os.O_CREATE == 0:
		return fail(syscall.ENOENT)
	case n == nil:
		if err := d.dirOf("open", name); err != nil {
			return nil, err
		}
		n = &node{mode: perm, modTime: time.Now()}
		d.change(rename{to: name, node: n})
	case n.dir:
		return fail(syscall.EISDIR)
	case flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return fail(syscall.EEXIST)
	}
	if flag&os.O_TRUNC != 0 && len(n.data) > 0 {
		n.edit(edit{truncate: true})
	}
	return n, nil
}

// Rename implements vfs.FS, for files alone.
func (d *Disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	from, to = clean(from), clean(to)
	if err := d.fail(Rename, from); err != nil {
		return err
	}
	n, target := d.live[from], d.live[to]
	if n == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: syscall.ENOENT}
	}
	if n.dir || target != nil && target.dir {
		return &fs.PathError{Op: "rename", Path: from, Err: syscall.EISDIR}
	}
	if err := d.dirOf("rename", to); err != nil || from == to {
		return err
	}
	d.change(rename{from: from, to: to, node: n})
	return nil
}

// Remove implements vfs.FS.
func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = clean(name)
	if err := d.fail(Remove, name); err != nil {
		return err
	}
	n := d.live[name]
	if n == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOENT}
	}
	if n.dir && len(d.entries(name)) > 0 {
		return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOTEMPTY}
	}
	d.change(rename{from: name})
	return nil
}

// MkdirAll implements vfs.FS.
func (d *Disk) MkdirAll(dir string, perm fs.FileMode) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir = clean(dir)
	if err := d.fail(Mkdir, dir); err != nil {
		return err
	}
	for end := 1; end <= len(dir); end++ {
		if end < len(dir) && dir[end] != filepath.Separator {
			continue
		}
		name := dir[:end]
		if n := d.live[name]; n == nil {
			d.change(rename{to: name, node: &node{dir: true, mode: perm, modTime: time.Now()}})
		} else if !n.dir {
			return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.ENOTDIR}
		}
	}
	return nil
}

// ReadDir implements vfs.FS.
func (d *Disk) ReadDir(dir string) ([]fs.DirEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir = clean(dir)
	if err := d.fail(Read, dir); err != nil {
		return nil, err
	}
	if n := d.live[dir]; n == nil {
		return nil, &fs.PathError{Op: "readdir", Path: dir, Err: syscall.ENOENT}
	} else if !n.dir {
		return nil, &fs.PathError{Op: "readdir", Path: dir, Err: syscall.ENOTDIR}
	}
	return d.entries(dir), nil
}

func (d *Disk) entries(dir string) []fs.DirEntry {
	var entries []fs.DirEntry
	for _, name := range sortedNames(d.live) {
		if name != dir && filepath.Dir(name) == dir {
			entries = append(entries, fs.FileInfoToDirEntry(newInfo(name, d.live[name])))
		}
	}
	return entries
}

// Stat implements vfs.FS.
func (d *Disk) Stat(name string) (fs.FileInfo, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = clean(name)
	n := d.live[name]
	if n == nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: syscall.ENOENT}
	}
	return newInfo(name, n), nil
}

// SyncDir implements vfs.FS.
func (d *Disk) SyncDir(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir = clean(dir)
	if n := d.live[dir]; n == nil || !n.dir {
		return &fs.PathError{Op: "sync", Path: dir, Err: syscall.ENOENT}
	}
	if err := d.fail(SyncDir, dir); err != nil {
		return err
	}
	d.syncDir(dir)
	return nil
}

// Lock implements vfs.FS.
func (d *Disk) Lock(name string) (io.Closer, error) {
	f, err := d.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	name = clean(name)
	if d.locks[name] {
		d.open--
		return nil, &fs.PathError{Op: "lock", Path: name, Err: vfs.ErrLocked}
	}
	d.locks[name] = true
	return &lock{file: f, disk: d, name: name, epoch: d.epoch}, nil
}

type lock struct {
	file  vfs.File
	disk  *Disk
	name  string
	epoch int
}

func (l *lock) Close() error {
	if err := l.file.Close(); err != nil {
		return err
	}
	l.disk.mu.Lock()
	defer l.disk.mu.Unlock()
	if l.epoch == l.disk.epoch {
		delete(l.disk.locks, l.name)
	}
	return nil
}

// WriteFile makes a durable file of these bytes, past all faults and the
// capacity. Its directory must exist.
func (d *Disk) WriteFile(name string, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = clean(name)
	n := &node{mode: 0o600, modTime: time.Now(), data: append([]byte(nil), data...), durable: append([]byte(nil), data...)}
	d.change(rename{to: name, node: n})
	d.syncDir(filepath.Dir(name))
}

// ReadFile returns the bytes of a file as a running program sees them, past all
// faults; ok is false when there is none.
func (d *Disk) ReadFile(name string) (data []byte, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.live[clean(name)]
	if n == nil || n.dir {
		return nil, false
	}
	return append([]byte(nil), n.data...), true
}

// Files returns the names of the files in and below dir, sorted.
func (d *Disk) Files(dir string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for _, name := range sortedNames(d.live) {
		if !d.live[name].dir && strings.HasPrefix(name, strings.TrimSuffix(clean(dir), "/")+"/") {
			names = append(names, name)
		}
	}
	return names
}

// info is what Stat says of a node at one moment.
type info struct {
	name    string
	size    int64
	mode    fs.FileMode
	modTime time.Time
}

func newInfo(name string, n *node) info {
	mode := n.mode
	if n.dir {
		mode |= fs.ModeDir
	}
	return info{name: filepath.Base(name), size: int64(len(n.data)), mode: mode, modTime: n.modTime}
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return i.modTime }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }
