package vfs

import (
	"errors"
	"io/fs"
	"path/filepath"
)

// MakeDir makes a directory and its parents, where they are missing, and makes
// their names durable.
func MakeDir(fsys FS, dir string, perm fs.FileMode) error {
	_, err := fsys.Stat(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := MakeDir(fsys, parent, perm); err != nil {
			return err
		}
	}
	if err := fsys.MkdirAll(dir, perm); err != nil {
		return err
	}
	return fsys.SyncDir(parent)
}
