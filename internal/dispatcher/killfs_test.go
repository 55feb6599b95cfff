package dispatcher_test

import (
	"io"
	"io/fs"
	"syscall"

	"log_capturer/internal/vfs"
)

// killFS is a disk whose every change is an operation of a life: it may be the
// last one, and it may fail.
type killFS struct {
	vfs.FS
	life *life
}

// change makes a change of the disk.
func (k killFS) change(operation func() error) error {
	return k.life.act(func() error {
		switch k.life.rand.IntN(60) {
		case 0:
			return syscall.EIO
		case 1:
			return syscall.ENOSPC
		}
		return operation()
	})
}

func (k killFS) OpenFile(name string, flag int, perm fs.FileMode) (file vfs.File, err error) {
	err = k.change(func() error {
		file, err = k.FS.OpenFile(name, flag, perm)
		return err
	})
	if err != nil {
		return nil, err
	}
	return killFile{file, k}, nil
}

func (k killFS) Rename(from, to string) error {
	return k.change(func() error { return k.FS.Rename(from, to) })
}

func (k killFS) Remove(name string) error {
	return k.change(func() error { return k.FS.Remove(name) })
}

func (k killFS) MkdirAll(dir string, perm fs.FileMode) error {
	return k.change(func() error { return k.FS.MkdirAll(dir, perm) })
}

func (k killFS) SyncDir(dir string) error {
	return k.change(func() error { return k.FS.SyncDir(dir) })
}

func (k killFS) Lock(name string) (io.Closer, error) { return k.FS.Lock(name) }

// killFile is a file of a killFS.
type killFile struct {
	vfs.File
	fs killFS
}

func (f killFile) ReadAt(b []byte, off int64) (n int, err error) {
	// Now and then a read fails, and is repeated.
	if f.fs.life.lucky() {
		return f.File.ReadAt(b, off)
	}
	return 0, syscall.EIO
}

func (f killFile) Write(b []byte) (n int, err error) {
	err = f.fs.change(func() error {
		n, err = f.File.Write(b)
		return err
	})
	return n, err
}

func (f killFile) Truncate(size int64) error {
	return f.fs.change(func() error { return f.File.Truncate(size) })
}

// Sync loses what it was to save when it fails, as the disk does.
func (f killFile) Sync() error {
	return f.fs.change(f.File.Sync)
}
