// Package vfs is the file system as the agent's durable stores see it: the few
// operations that the journal, the spool and the file sink need, with fsync of
// files and of directories among them.
//
// It exists so that every fault can be tested. The stores take an FS and get OS
// in production; tests give them the simulated disk of package vfstest, which
// runs full, fails and loses power on demand.
//
// # What an FS promises
//
//   - Bytes whose Write returned are seen by every reader and outlive the
//     process (kill -9), but not a loss of power.
//   - Bytes outlive a loss of power when File.Sync returned nil after they were
//     written, and names (of created, renamed and removed files) when SyncDir of
//     their directory did.
//   - After a Sync that returned an error, nothing may be assumed of the bytes
//     it was to save, whatever a later Sync returns: the kernel reports a failed
//     write-back once and then takes the pages for clean. They must be written
//     again.
//   - Rename replaces its target in one step.
//
// Names are those of the operating system (package path/filepath). Errors of a
// missing or existing file satisfy errors.Is with fs.ErrNotExist and fs.ErrExist.
package vfs

import (
	"errors"
	"io"
	"io/fs"
)

// FS is a file system. It is safe for concurrent use.
type FS interface {
	// OpenFile opens a file with the flags of package os (os.O_RDWR and the
	// like) and creates it with perm if the flags say so.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Rename renames a file, and replaces the one that has the new name.
	Rename(from, to string) error
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// MkdirAll makes a directory and its parents, where they are missing.
	MkdirAll(dir string, perm fs.FileMode) error
	// ReadDir lists a directory, sorted by name.
	ReadDir(dir string) ([]fs.DirEntry, error)
	// Stat describes a file or directory.
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the names in a directory durable.
	SyncDir(dir string) error
	// Lock takes the exclusive lock on a file, which it creates if it is
	// missing, and holds it until the returned Closer is closed or the process
	// ends. It does not wait: the error is ErrLocked when another one has it.
	Lock(name string) (io.Closer, error)
}

// File is an open file. Its methods are those of os.File.
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.Seeker
	io.Closer
	// Name returns the name that the file was opened with.
	Name() string
	// Stat describes the file.
	Stat() (fs.FileInfo, error)
	// Truncate changes the file's size, in bytes.
	Truncate(size int64) error
	// Sync makes the file's bytes and size durable.
	Sync() error
}

// ErrLocked says that someone else holds a lock.
var ErrLocked = errors.New("locked by another process")
