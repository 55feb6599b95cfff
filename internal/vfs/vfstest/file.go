package vfstest

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// errDead answers the calls of a program that was killed.
var errDead = errors.New("the program that opened this file was killed")

// file is a handle of a node.
type file struct {
	disk   *Disk
	node   *node
	name   string
	flag   int
	off    int64
	epoch  int
	closed bool
}

// begin checks that the handle may be used and that no fault is due. The disk's
// lock is held.
func (f *file) begin(op Op) error {
	if f.epoch != f.disk.epoch {
		return &fs.PathError{Op: string(op), Path: f.name, Err: errDead}
	}
	if f.closed {
		return &fs.PathError{Op: string(op), Path: f.name, Err: fs.ErrClosed}
	}
	return f.disk.fail(op, clean(f.name))
}

// Name implements vfs.File.
func (f *file) Name() string { return f.name }

// Read implements vfs.File.
func (f *file) Read(b []byte) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	n, err := f.readAt(b, f.off)
	f.off += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// ReadAt implements vfs.File.
func (f *file) ReadAt(b []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return f.readAt(b, off)
}

func (f *file) readAt(b []byte, off int64) (int, error) {
	if err := f.begin(Read); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: syscall.EINVAL}
	}
	n := 0
	if off < int64(len(f.node.data)) {
		n = copy(b, f.node.data[off:])
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// Write implements vfs.File.
func (f *file) Write(b []byte) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.flag&(os.O_WRONLY|os.O_RDWR) == 0 {
		return 0, &fs.PathError{Op: "write", Path: f.name, Err: syscall.EBADF}
	}
	err := f.begin(Write)
	if err != nil {
		b = b[:f.disk.written(err, len(b))]
	}
	if f.flag&os.O_APPEND != 0 {
		f.off = int64(len(f.node.data))
	}
	grow := f.off + int64(len(b)) - int64(len(f.node.data))
	if over := f.disk.used() + grow - f.disk.capacity; grow > 0 && over > 0 {
		b = b[:max(0, int64(len(b))-over)]
		err = &fs.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
	}
	if len(b) > 0 {
		f.node.edit(edit{off: f.off, data: append([]byte(nil), b...)})
		f.off += int64(len(b))
	}
	return len(b), err
}

// Seek implements vfs.File.
func (f *file) Seek(offset int64, whence int) (int64, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.begin(Seek); err != nil {
		return 0, err
	}
	switch whence {
	case io.SeekCurrent:
		offset += f.off
	case io.SeekEnd:
		offset += int64(len(f.node.data))
	}
	if offset < 0 {
		return 0, &fs.PathError{Op: "seek", Path: f.name, Err: syscall.EINVAL}
	}
	f.off = offset
	return offset, nil
}

// Truncate implements vfs.File.
func (f *file) Truncate(size int64) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.begin(Truncate); err != nil {
		return err
	}
	if size < 0 {
		return &fs.PathError{Op: "truncate", Path: f.name, Err: syscall.EINVAL}
	}
	f.node.edit(edit{off: size, truncate: true})
	return nil
}

// Sync implements vfs.File. A Sync that fails loses its grip on the bytes: no
// later one makes them durable.
func (f *file) Sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.begin(Sync); err != nil {
		if f.epoch == f.disk.epoch && !f.closed {
			f.node.pending = nil
		}
		return err
	}
	f.node.sync()
	return nil
}

// Stat implements vfs.File.
func (f *file) Stat() (fs.FileInfo, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.begin(Stat); err != nil {
		return nil, err
	}
	return newInfo(f.name, f.node), nil
}

// Close implements vfs.File.
func (f *file) Close() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.epoch != f.disk.epoch {
		return &fs.PathError{Op: "close", Path: f.name, Err: errDead}
	}
	if f.closed {
		return &fs.PathError{Op: "close", Path: f.name, Err: fs.ErrClosed}
	}
	f.closed = true
	f.disk.open--
	return nil
}
