package tail

import (
	"bytes"
	"fmt"

	"log_capturer/internal/record"
)

// lastLineSpan is how far back from the end of a file its last newline is looked
// for, in bytes.
const lastLineSpan = 64 << 10

// PlaceIn returns a place in the file at path, without Seqs: at its head, or at
// its end, which is behind its last whole line. It also returns when the file was
// last written to, in Unix nanoseconds.
func PlaceIn(path string, atEnd bool) (record.Place, int64, error) {
	f, err := openFile(path)
	if err != nil {
		return record.Place{}, 0, fmt.Errorf("open log: %w", err)
	}
	defer f.close()
	id, err := f.head()
	if err != nil {
		return record.Place{}, 0, fmt.Errorf("read log %q: %w", path, err)
	}
	p := record.Place{File: id, Tail: record.LineHash(nil)}
	if !atEnd {
		return p, f.modified, nil
	}
	b := make([]byte, min(f.size, lastLineSpan))
	n, err := f.readAt(b, f.size-int64(len(b)))
	if err != nil {
		return record.Place{}, 0, fmt.Errorf("read log %q: %w", path, err)
	}
	p.Offset = f.size - int64(len(b)) + int64(bytes.LastIndexByte(b[:n], '\n')+1)
	before, _, err := f.before(p.Offset)
	if err != nil {
		return record.Place{}, 0, fmt.Errorf("read log %q: %w", path, err)
	}
	p.Tail = record.LineHash(before)
	return p, f.modified, nil
}

// Bases returns the names that a file may have had before it was rotated to this
// name: those of which IsRotation says so.
func Bases(name string) []string {
	var bases []string
	plain := trimZip(name)
	for i := 1; i < len(plain); i++ {
		if isStamp(plain[i:], 1) {
			bases = append(bases, plain[:i])
		}
	}
	ext := extension(plain)
	stem := plain[:len(plain)-len(ext)]
	for i := 1; ext != "" && i < len(stem); i++ {
		if isStamp(stem[i:], dateDigits) {
			bases = append(bases, stem[:i]+ext)
		}
	}
	return bases
}
