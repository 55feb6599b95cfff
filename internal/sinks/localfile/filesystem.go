package localfile

import (
	"io"
	"io/fs"
	"os"
	"time"
)

// fileSystem is what the sink needs of a file system. Tests put a faulty one
// in its place.
type fileSystem interface {
	// OpenFile opens a file, or a directory for its Sync.
	OpenFile(name string, flag int, perm fs.FileMode) (handle, error)
	Stat(name string) (status, error)
	MkdirAll(dir string, perm fs.FileMode) error
	Rename(from, to string) error
	Remove(name string) error
}

// handle is an open file.
type handle interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.Closer
	Truncate(size int64) error
	Sync() error
}

// status is what is known of a file without opening it.
type status struct {
	identity identity
	size     int64
	modified time.Time
}

// identity tells files apart that had the same name at different times. A
// path says where a file is; an identity, which one it is.
type identity struct {
	device, inode uint64
	// born is the time of the file's creation in Unix nanoseconds, zero where
	// the system does not say. It tells apart files that had the same inode
	// one after the other.
	born int64
}

// is reports whether both are the same file. Devices are compared only where
// there is nothing better: some file systems get another number at each mount.
func (id identity) is(other identity) bool {
	if id.inode != other.inode {
		return false
	}
	if id.born != 0 && other.born != 0 {
		return id.born == other.born
	}
	return id.device == other.device
}

// osFileSystem is the real one.
type osFileSystem struct{}

func (osFileSystem) OpenFile(name string, flag int, perm fs.FileMode) (handle, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (osFileSystem) MkdirAll(dir string, perm fs.FileMode) error { return os.MkdirAll(dir, perm) }
func (osFileSystem) Rename(from, to string) error                { return os.Rename(from, to) }
func (osFileSystem) Remove(name string) error                    { return os.Remove(name) }
