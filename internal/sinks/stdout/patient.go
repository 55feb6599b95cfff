package stdout

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// patient writes to a file that may be a pipe or a terminal whose reader has
// stopped reading. A write to such a file could block for good, and no context
// would end it, so each waits first until there is room.
type patient struct{ file *os.File }

const (
	// chunk is what a pipe takes without blocking once it says that it is ready:
	// PIPE_BUF of pipe(7).
	chunk = 4096
	// wait is how long one wait for room lasts before the context is looked at,
	// in milliseconds.
	wait = 50
)

// write writes b, and returns how much of it was written when ctx ended it.
func (p *patient) write(ctx context.Context, b []byte) (written int, err error) {
	for written < len(b) {
		if err := ctx.Err(); err != nil {
			return written, err
		}
		ready, err := p.ready()
		if err != nil {
			return written, err
		}
		if !ready {
			continue
		}
		n, err := p.file.Write(b[written:min(len(b), written+chunk)])
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// ready waits a moment for room.
func (p *patient) ready() (bool, error) {
	fds := []unix.PollFd{{Fd: int32(p.file.Fd()), Events: unix.POLLOUT}}
	n, err := unix.Poll(fds, wait)
	if errors.Is(err, unix.EINTR) {
		return false, nil
	}
	// An error of the file itself is the write's to tell.
	return n > 0, err
}
