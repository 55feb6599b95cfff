package selfwatch

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// fdTargets returns what each open file descriptor points at.
func fdTargets() ([]string, error) {
	const path = "/proc/self/fd"
	dir, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("count open file descriptors: %w", err)
	}
	defer dir.Close() //nolint:errcheck // a directory that was read
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("count open file descriptors: %w", err)
	}
	own := strconv.Itoa(int(dir.Fd()))
	targets := make([]string, 0, len(names))
	for _, name := range names {
		if name == own {
			continue
		}
		// One that was closed meanwhile is none.
		if target, err := os.Readlink(path + "/" + name); err == nil {
			targets = append(targets, target)
		}
	}
	return targets, nil
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
