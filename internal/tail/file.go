package tail

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/klauspost/compress/gzip"

	"log_capturer/internal/record"
)

// stat is what a look at a file tells. The zero stat is no file.
type stat struct {
	device, inode uint64
	size          int64
	// modified is when it was last written to, in Unix nanoseconds.
	modified int64
}

func statOf(info fs.FileInfo) stat {
	s := stat{size: info.Size(), modified: info.ModTime().UnixNano()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.device, s.inode = uint64(sys.Dev), sys.Ino //nolint:unconvert // Dev is narrower elsewhere
	}
	return s
}

func (s stat) same(other stat) bool { return s.inode == other.inode && s.device == other.device }

// look returns the stat of a regular file, the zero stat when there is none.
func look(path string) (stat, error) {
	info, err := os.Stat(path)
	if isAbsent(err) {
		return stat{}, nil
	}
	if err != nil {
		return stat{}, fmt.Errorf("look at log: %w", err)
	}
	if !info.Mode().IsRegular() {
		return stat{}, fmt.Errorf("look at log %q: not a regular file", path)
	}
	return statOf(info), nil
}

func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// file is an open file of a log. Its stat was taken when it was opened.
type file struct {
	stat
	path string
	os   *os.File
	// zipped is set for a compressed file, which can only be read forward: at is
	// how far unzip has read it.
	zipped bool
	unzip  *gzip.Reader
	at     int64
	// kept are the bytes before at that were given and not used.
	kept []byte
}

// openFile opens the regular file at path. The error wraps fs.ErrNotExist when
// there is none.
func openFile(path string) (*file, error) {
	// Without O_NONBLOCK, opening a pipe that stands where a log was would wait
	// for its writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("open log %q: not a regular file", path)
	}
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, err
	}
	return &file{stat: statOf(info), path: path, os: f, zipped: isZipped(path)}, nil
}

func isZipped(path string) bool { return strings.HasSuffix(path, ".gz") }

// damage is the error of a compressed file that can't be read to its end.
type damage struct {
	path string
	err  error
}

func (d *damage) Error() string { return fmt.Sprintf("unpack %q: %v", d.path, d.err) }
func (d *damage) Unwrap() error { return d.err }

func (f *file) close() {
	if f != nil {
		_ = f.os.Close() // nothing was written
	}
}

// refresh takes the stat again.
func (f *file) refresh() error {
	info, err := f.os.Stat()
	if err != nil {
		return err
	}
	f.stat = statOf(info)
	return nil
}

// readAt fills p from offset on as far as the file goes, and returns how much
// that was. Of a compressed file the offset is that of its content; to go back
// beyond what was kept means to unpack it again from its beginning.
func (f *file) readAt(p []byte, offset int64) (int, error) {
	if !f.zipped {
		n, err := f.os.ReadAt(p, offset)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return n, err
	}
	if f.unzip == nil {
		var err error
		if f.unzip, err = gzip.NewReader(f.os); err != nil {
			return 0, &damage{path: f.path, err: err}
		}
	}
	n := 0
	if back := f.at - offset; back > 0 && back <= int64(len(f.kept)) {
		n = copy(p, f.kept[int64(len(f.kept))-back:])
		offset += int64(n)
	} else if back > 0 {
		if _, err := f.os.Seek(0, io.SeekStart); err != nil {
			return 0, err
		}
		if err := f.unzip.Reset(f.os); err != nil {
			return 0, &damage{path: f.path, err: err}
		}
		f.at, f.kept = 0, nil
	}
	if n == len(p) {
		return n, nil
	}
	if offset > f.at {
		skipped, err := io.CopyN(io.Discard, f.unzip, offset-f.at)
		f.at += skipped
		if errors.Is(err, io.EOF) {
			return 0, nil
		}
		if err != nil {
			return 0, &damage{path: f.path, err: err}
		}
	}
	for {
		m, err := f.unzip.Read(p[n:])
		n += m
		f.at += int64(m)
		switch {
		case n == len(p), errors.Is(err, io.EOF):
			return n, nil
		case err != nil && n > 0:
			return n, nil // the next read fails in the same way
		case err != nil:
			return 0, &damage{path: f.path, err: err}
		}
	}
}

// head returns the identity of the file's content now.
func (f *file) head() (record.FileID, error) {
	var b [record.HeadSize]byte
	n, err := f.readAt(b[:], 0)
	if err != nil {
		return record.FileID{}, err
	}
	return record.FileID{Inode: f.inode, Head: record.LineHash(b[:n]), HeadLength: uint32(n)}, nil
}

// startsAs reports whether the file's content begins as that of id did.
func (f *file) startsAs(id record.FileID) (bool, error) {
	if id.HeadLength == 0 {
		return true, nil
	}
	if id.HeadLength > record.HeadSize {
		return false, nil
	}
	b := make([]byte, id.HeadLength)
	n, err := f.readAt(b, 0)
	return err == nil && n == len(b) && record.LineHash(b) == id.Head, err
}

// before returns the bytes before offset, at most record.TailSize, and whether
// the file reaches to offset.
func (f *file) before(offset int64) ([]byte, bool, error) {
	b := make([]byte, min(offset, record.TailSize))
	n, err := f.readAt(b, offset-int64(len(b)))
	return b[:n], err == nil && n == len(b), err
}

// age returns how long the file has not been written to.
func (s stat) age(now time.Time) time.Duration {
	return now.Sub(time.Unix(0, s.modified))
}
