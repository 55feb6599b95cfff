package selfwatch

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// fds is the directory of the process's open file descriptors (proc(5)).
const fds = "/proc/self/fd"

// openFDs returns the numbers of the open file descriptors.
func openFDs() ([]int, error) {
	dir, err := os.Open(fds)
	if err != nil {
		return nil, fmt.Errorf("count open file descriptors: %w", err)
	}
	defer dir.Close() //nolint:errcheck // a directory that was read
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("count open file descriptors: %w", err)
	}
	own := int(dir.Fd())
	numbers := make([]int, 0, len(names))
	for _, name := range names {
		if number, err := strconv.Atoi(name); err == nil && number != own {
			numbers = append(numbers, number)
		}
	}
	return numbers, nil
}

// fdTarget returns what a descriptor points at, "" for one that was closed
// meanwhile.
func fdTarget(number int) string {
	target, err := os.Readlink(fds + "/" + strconv.Itoa(number))
	if err != nil {
		return ""
	}
	return target
}

// fdKindOf names the kind of a descriptor, "" for one that was closed meanwhile.
// To read what each of 400 points at took half of a scrape's time. No server is
// asked that a file may be on: it may not answer.
func fdKindOf(number int) string {
	var stat unix.Statx_t
	err := unix.Statx(number, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE, &stat)
	if err == unix.EBADF {
		return ""
	}
	if err == nil {
		switch stat.Mode & unix.S_IFMT {
		case unix.S_IFSOCK:
			return "socket"
		case unix.S_IFIFO:
			return "pipe"
		case unix.S_IFREG, unix.S_IFDIR, unix.S_IFCHR, unix.S_IFBLK:
			return "file"
		}
	}
	// Those that have no inode of their own, inotify among them, have no type.
	return fdKind(fdTarget(number))
}

// residentBytes returns the memory that the process occupies, in bytes.
func residentBytes() (int64, error) {
	const path = "/proc/self/statm" // in pages: size resident shared ...
	statm, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("read resident memory: %w", err)
	}
	fields := strings.Fields(string(statm))
	if len(fields) < 2 {
		return 0, fmt.Errorf("read resident memory: %s holds %q", path, statm)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read resident memory: %w", err)
	}
	return pages * int64(os.Getpagesize()), nil
}

// cpuTime returns the processor time that the process used, in user mode and in
// the kernel.
func cpuTime() (time.Duration, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}
