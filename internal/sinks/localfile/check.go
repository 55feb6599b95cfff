package localfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Check makes a file, and removes it again, in the directory that the files'
// paths begin with, or, where that does not exist yet, in the nearest one above.
func (s *Sink) Check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	dir := s.paths.root
	for dir != filepath.Dir(dir) {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		dir = filepath.Dir(dir)
	}
	f, err := os.CreateTemp(dir, ".log_capturer-check-*")
	if err != nil {
		return fmt.Errorf("files cannot be made in %s: %w", s.paths.root, err)
	}
	_, err = f.WriteString("check")
	if err := errors.Join(err, f.Close(), os.Remove(f.Name())); err != nil {
		return fmt.Errorf("files cannot be written in %s: %w", s.paths.root, err)
	}
	return nil
}
