package spool

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// reserveName is a file of zeros that is given up when the disk is full, so that
// the positions, which most often are on the same disk, can be written then.
// Without that nothing that is delivered could be committed, and the spool would
// never give its room back. While the reserve is not there nothing is appended.
const reserveName = "reserve"

// maxReserve is the size of the reserve of a large spool, in bytes. That of others
// is a segment's: delivering a segment takes the positions far less, and gives the
// room of the segment back.
const maxReserve = 4 << 20

// reservePause is how long a reserve that could not be made is not tried again:
// the attempt takes for a moment what room others have.
const reservePause = time.Second

func (s *Spool) reserveSize() int64 { return min(maxReserve, s.maxBytes/16) }

// takeReserve makes the reserve, unless it is there.
func (s *Spool) takeReserve() error {
	if s.reserved > 0 || s.reserveSize() == 0 {
		return nil
	}
	if time.Since(s.reserveFailed) < reservePause {
		return syscall.ENOSPC
	}
	path := filepath.Join(s.dir, reserveName)
	file, err := s.fs.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	zeros := make([]byte, s.reserveSize())
	n, err := file.Write(zeros)
	if err == nil && n < len(zeros) {
		err = io.ErrShortWrite
	}
	if err = errors.Join(err, file.Close()); err != nil {
		s.reserveFailed = time.Now()
		return errors.Join(err, s.fs.Remove(path))
	}
	s.reserved = int64(len(zeros))
	s.bytes += s.reserved
	return nil
}

// giveReserve gives the reserve up.
func (s *Spool) giveReserve() {
	if s.reserved == 0 {
		return
	}
	if err := s.fs.Remove(filepath.Join(s.dir, reserveName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.Warn("spool_reserve_not_removed", "dir", s.dir, "error", err)
		return
	}
	s.bytes -= s.reserved
	s.reserved = 0
}

// noRoom gives the reserve up when err says that the disk is full.
func (s *Spool) noRoom(err error) {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		s.giveReserve()
	}
}

// findReserve takes over the reserve of an earlier run.
func (s *Spool) findReserve() {
	info, err := s.fs.Stat(filepath.Join(s.dir, reserveName))
	if err != nil {
		return
	}
	// One of another size, or of a spool that is empty, is made anew when it is
	// needed.
	s.reserved = max(info.Size(), 1)
	s.bytes += s.reserved
	if len(s.segments) == 0 || info.Size() != s.reserveSize() {
		s.giveReserve()
	}
}
