package vfstest

import (
	"errors"
	"io/fs"
	"path/filepath"
)

// Op names an operation that can fail.
type Op string

// The operations.
const (
	Open     Op = "open"
	Read     Op = "read"
	Write    Op = "write"
	Seek     Op = "seek"
	Truncate Op = "truncate"
	Sync     Op = "sync"
	Stat     Op = "stat"
	Rename   Op = "rename"
	Remove   Op = "remove"
	Mkdir    Op = "mkdir"
	SyncDir  Op = "syncdir"
)

// Fault makes operations fail.
type Fault struct {
	// Op is the operation that fails.
	Op Op
	// Match is a pattern of package path/filepath for the base name of the file
	// or directory. Empty matches all.
	Match string
	// After is how many matching operations succeed before the first one fails.
	After int
	// Times is how many fail then; zero means all, until Heal.
	Times int
	// Err is what they return, in an fs.PathError.
	Err error
	// Short is how many bytes a failing Write writes nonetheless.
	Short int

	seen int
}

// Inject adds a fault. Of several that match, the first one added fails the
// operation.
func (d *Disk) Inject(f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = append(d.faults, &f)
}

// Heal removes all faults. The capacity stays.
func (d *Disk) Heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = nil
}

// injected is the error of a Fault.
type injected struct {
	fs.PathError
	short int
}

func (e *injected) Unwrap() error { return &e.PathError }

// fail counts one operation and returns the error that it has to return.
func (d *Disk) fail(op Op, name string) error {
	var due *Fault
	for _, f := range d.faults {
		if f.Op != op {
			continue
		}
		if ok, err := filepath.Match(f.Match, filepath.Base(name)); f.Match != "" && (err != nil || !ok) {
			continue
		}
		f.seen++
		if due == nil && f.seen > f.After && (f.Times == 0 || f.seen <= f.After+f.Times) {
			due = f
		}
	}
	if due == nil {
		return nil
	}
	return &injected{fs.PathError{Op: string(op), Path: name, Err: due.Err}, due.Short}
}

// written returns how many of n bytes a Write that fails with err has written.
func (d *Disk) written(err error, n int) int {
	if e, ok := errors.AsType[*injected](err); ok {
		return min(e.short, n)
	}
	return 0
}
