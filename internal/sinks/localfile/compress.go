package localfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// temporaryExtension is what the name of a file ends with while it is being
// compressed.
const temporaryExtension = ".tmp"

const (
	// compressionWindow bounds the memory of the zstd encoder, and of whoever
	// reads the file, in bytes.
	compressionWindow = 1 << 20
	// compressionChunk is how much is read at a time, in bytes.
	compressionChunk = 128 << 10
)

// isCompressed reports whether the closed file c at path is compressed.
func isCompressed(path string, c closedEntry) bool {
	for _, method := range []Compression{Zstd, Gzip} {
		if strings.HasSuffix(path, extension(c.active)+method.extension()) {
			return true
		}
	}
	return false
}

// nextToCompress returns the oldest closed file that is to be compressed.
func (s *Sink) nextToCompress() (path string, c closedEntry, ok bool) {
	if s.opts.Compress.extension() == "" {
		return "", closedEntry{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, e := range s.closed {
		if isCompressed(p, e) {
			continue
		}
		if !ok || e.closed < c.closed || e.closed == c.closed && p < path {
			path, c, ok = p, e, true
		}
	}
	return path, c, ok
}

// compress replaces a closed file by its compressed form. The steps are
//
//  1. write a temporary file, and sync it;
//  2. rename it to its name, and sync the directory;
//  3. remove the original;
//  4. commit the compressed file in the place of the original.
//
// The process may end after each: recoverClosed clears up. Between the second
// step and the third both files are there.
func (s *Sink) compress(ctx context.Context, path string, c closedEntry) error {
	if _, err := s.check(path, c.identity); err != nil {
		if !errors.Is(err, errAbsent) {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.recoverClosed(path, c)
	}
	compressed := path + s.opts.Compress.extension()
	temporary := compressed + temporaryExtension
	if err := s.writeCompressed(ctx, path, temporary); err != nil {
		return errors.Join(err, s.removeIfThere(temporary))
	}
	if err := s.fs.Rename(temporary, compressed); err != nil {
		return errors.Join(fmt.Errorf("compress file: %w", err), s.removeIfThere(temporary))
	}
	if err := syncPath(s.fs, filepath.Dir(compressed)); err != nil {
		return err
	}
	st, err := s.fs.Stat(compressed)
	if err != nil {
		return fmt.Errorf("compress file: %w", err)
	}
	if err := s.removeIfThere(path); err != nil {
		return fmt.Errorf("remove compressed file: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.replaceClosed(path, compressed, c, st); err != nil {
		return err
	}
	s.counters.compressions.Add(1)
	return nil
}

// writeCompressed writes the compressed contents of path to a new file, and
// syncs it.
func (s *Sink) writeCompressed(ctx context.Context, path, to string) (err error) {
	in, err := s.fs.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("compress file: %w", err)
	}
	defer func() { _ = in.Close() }() // it was only read
	out, err := s.fs.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, filePermissions)
	if err != nil {
		return fmt.Errorf("compress file: %w", err)
	}
	defer func() {
		if closeErr := out.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("close %q: %w", to, closeErr)
		}
	}()
	encoder, err := s.newCompressor(out)
	if err != nil {
		return fmt.Errorf("compress %q: %w", path, err)
	}
	chunk := make([]byte, compressionChunk)
	// The wrappers hide faster ways to copy, which would not see ctx end.
	_, err = io.CopyBuffer(struct{ io.Writer }{encoder}, contextReader{ctx, in}, chunk)
	if closeErr := encoder.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = out.Sync()
	}
	if err != nil {
		return fmt.Errorf("compress %q: %w", path, err)
	}
	return nil
}

func (s *Sink) newCompressor(out io.Writer) (io.WriteCloser, error) {
	if s.opts.Compress == Gzip {
		return gzip.NewWriter(out), nil
	}
	return zstd.NewWriter(out, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
		zstd.WithWindowSize(compressionWindow))
}

// contextReader reads until ctx is done.
type contextReader struct {
	ctx context.Context
	in  io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.in.Read(p)
}
