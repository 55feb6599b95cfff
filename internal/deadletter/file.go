// Package deadletter keeps the records that a destination refused for good, until
// they are replayed, purged, or given up for age or room.
//
// A Store owns a directory. In it are files to which it appends an object of JSON
// a line: the record, with who refused it and why. It promises that
//
//   - Append returns nil when its entries are on disk, fsynced, so that a cursor
//     may move past their records;
//   - each line is a whole object. What a crash or a full disk has torn is cut
//     off: its Append did not return nil, so its records come again, and may be
//     in the file twice;
//   - the bytes of a log line are kept exactly: as text under "line", and where
//     they are not valid UTF-8, in base64 under "line_base64".
//
// That no other process writes to them is left to the lock on the positions.
package deadletter

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"log_capturer/internal/vfs"
)

// File is an open dead-letter file. Its methods may be called from several
// goroutines at once.
type File struct {
	path string

	mu   sync.Mutex
	file vfs.File
	size int64 // of the whole lines, in bytes
	torn bool  // there are bytes after them
}

// Open opens the file at path, and makes it, for its owner alone, if there is
// none. Its directory must exist.
func Open(path string) (*File, error) { return OpenFS(vfs.OS{}, path) }

// OpenFS is Open on a given file system.
func OpenFS(fsys vfs.FS, path string) (*File, error) {
	file, err := fsys.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open dead letters: %w", err)
	}
	f := &File{path: path, file: file}
	if err := f.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("repair dead letters: %w", err), file.Close())
	}
	if err := fsys.SyncDir(filepath.Dir(path)); err != nil {
		return nil, errors.Join(fmt.Errorf("sync directory of dead letters: %w", err), file.Close())
	}
	return f, nil
}

// recover cuts off what is behind the last newline.
func (f *File) recover() error {
	end, err := f.file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if f.size, err = wholeLines(f.file, end); err != nil {
		return err
	}
	f.torn = f.size < end
	return f.mend()
}

// wholeLines returns the length of the first end bytes of the file up to their
// last newline.
func wholeLines(file io.ReaderAt, end int64) (int64, error) {
	buffer := make([]byte, 64<<10)
	for end > 0 {
		n := min(int64(len(buffer)), end)
		if _, err := file.ReadAt(buffer[:n], end-n); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(buffer[:n], '\n'); i >= 0 {
			return end - n + int64(i) + 1, nil
		}
		end -= n
	}
	return 0, nil
}

// Append writes the entries, with one write and one fsync, and returns when they
// are on disk. On an error none of them counts as written, and it may be called
// again with the same or others.
func (f *File) Append(entries []Entry) error {
	if len(entries) == 0 {
		return nil
	}
	lines, err := encode(entries)
	if err != nil {
		return err
	}
	return f.appendLines(lines)
}

// appendLines writes and fsyncs whole lines.
func (f *File) appendLines(lines []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.write(lines); err != nil {
		return fmt.Errorf("write dead letters %q: %w", f.path, err)
	}
	return nil
}

// Size returns the size of the file, in bytes.
func (f *File) Size() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size
}

// eachLine calls visit with every line, without its newline, and its number from
// 0. The line is visit's during the call.
func (f *File) eachLine(visit func(n uint64, line []byte) error) error {
	r := bufio.NewReaderSize(io.NewSectionReader(f.file, 0, f.Size()), 64<<10)
	var long []byte
	for n := uint64(0); ; {
		part, err := r.ReadSlice('\n')
		long = append(long, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read dead letters %q: %w", f.path, err)
		}
		if err := visit(n, long[:len(long)-1]); err != nil {
			return err
		}
		n, long = n+1, long[:0]
	}
}

// write appends and fsyncs whole lines. After a failed fsync too they are cut off
// again: a later fsync would not save them, although it said so.
func (f *File) write(lines []byte) error {
	if err := f.mend(); err != nil {
		return err
	}
	n, err := f.file.Write(lines)
	if err == nil && n < len(lines) {
		err = io.ErrShortWrite
	}
	if err == nil {
		err = f.file.Sync()
	}
	if err != nil {
		f.torn = true
		return errors.Join(err, f.mend())
	}
	f.size += int64(len(lines))
	return nil
}

// mend cuts off what is behind the last whole line. Until that succeeds nothing
// is written.
func (f *File) mend() error {
	if !f.torn {
		return nil
	}
	if err := f.file.Truncate(f.size); err != nil {
		return fmt.Errorf("cut off a torn line: %w", err)
	}
	f.torn = false
	return nil
}

// Close closes the file.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.file.Close()
}
