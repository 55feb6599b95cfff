package positions

import (
	"encoding/binary"
	"errors"
	"io"

	"log_capturer/internal/vfs"
)

// scanner reads the records of a journal file, and finds the next whole one
// behind bytes that are none. It holds no more than one record in memory,
// whatever the lengths in the file say.
type scanner struct {
	file vfs.File
	size int64
	off  int64 // where the next record should start

	buf   []byte // bytes of the file from bufAt on
	bufAt int64

	// budget is how many bytes may still be checksummed in search of a whole
	// record: a file made of plausible lengths would take time quadratic in its
	// size. What lies behind the place where it runs out counts as damaged.
	budget int64
}

// found is a record in a file.
type found struct {
	// off and end are where it starts and ends.
	off, end int64
	// skipped counts the bytes before it that are no records.
	skipped int64
	// payload is valid until the next call of the scanner.
	payload []byte
}

func newScanner(file vfs.File, size, off int64) *scanner {
	return &scanner{file: file, size: size, off: off, budget: 16*size + 1<<20}
}

// next returns the next whole record. At the end of the file it returns io.EOF
// and how many bytes were skipped; any other error is of reading the file.
func (s *scanner) next() (found, error) {
	start := s.off
	for off := start; ; off++ {
		payload, err := s.record(off)
		if err != nil {
			return found{}, err
		}
		if payload != nil {
			s.off = off + frameSize + int64(len(payload))
			return found{off: off, end: s.off, skipped: off - start, payload: payload}, nil
		}
		if off+frameSize >= s.size || s.budget < 0 {
			s.off = s.size
			return found{off: s.size, end: s.size, skipped: s.size - start}, io.EOF
		}
	}
}

// record returns the payload of the record at off, nil if there is none.
func (s *scanner) record(off int64) ([]byte, error) {
	const least = frameSize + 1 // a kind
	if off+least > s.size {
		return nil, nil
	}
	b, err := s.view(off, least)
	if err != nil {
		return nil, err
	}
	n := int64(binary.LittleEndian.Uint32(b))
	if n == 0 || n > maxPayload || n > s.size-off-frameSize || b[frameSize] != kindChanges && b[frameSize] != kindMark {
		return nil, nil
	}
	if b, err = s.view(off, int(frameSize+n)); err != nil {
		return nil, err
	}
	if recordCRC(b) != binary.LittleEndian.Uint32(b[4:]) || !validPayload(b[frameSize:], off) {
		s.budget -= n
		return nil, nil
	}
	return b[frameSize:], nil
}

// view returns length bytes of the file at off, which must be within its size.
func (s *scanner) view(off int64, length int) ([]byte, error) {
	if from := off - s.bufAt; from >= 0 && from+int64(length) <= int64(len(s.buf)) {
		return s.buf[from : from+int64(length)], nil
	}
	want := int(min(max(int64(length), 64<<10), s.size-off))
	if cap(s.buf) < want {
		s.buf = make([]byte, want)
	}
	s.buf, s.bufAt = s.buf[:want], off
	n, err := s.file.ReadAt(s.buf, off)
	if n < want {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // the file is shorter than it was
		}
		s.buf = nil
		return nil, err
	}
	return s.buf[:length], nil
}
