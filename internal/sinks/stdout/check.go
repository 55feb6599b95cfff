package stdout

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Check sees that the standard output is open for writing. It writes nothing.
func (s *Sink) Check(context.Context) error {
	file, ok := s.out.(*os.File)
	if !ok {
		return nil // it is memory of this process
	}
	conn, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("the standard output cannot be used: %w", err)
	}
	var mode int
	var asked error
	err = conn.Control(func(fd uintptr) { mode, asked = unix.FcntlInt(fd, unix.F_GETFL, 0) })
	switch {
	case errors.Join(err, asked) != nil:
		return fmt.Errorf("the standard output is closed (do not close it when the agent is started): %w", errors.Join(err, asked))
	case mode&unix.O_ACCMODE == unix.O_RDONLY:
		return errors.New("the standard output is open for reading alone: give the agent one that can be written to")
	}
	return nil
}
