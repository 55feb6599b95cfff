package numbered

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"log_capturer/internal/record"
)

// A count file is an array of little-endian 64-bit words. Word 0 is the number
// of starts; words 2k and 2k+1 are the lines written to stdout and stderr in
// start k, from 1. The writer maps it and counts a line after its write
// returned, so a writer that is killed has written what the file says, or one
// line more on one stream.
const (
	countsSize = 64 << 10
	maxStarts  = countsSize/16 - 1
)

// Count is how many lines were written in one start of a writer.
type Count struct {
	// Lines are the counts, by stream.
	Lines [record.NumStreams]uint64
}

// CreateCounts makes an empty count file at path.
func CreateCounts(path string) error {
	if err := os.WriteFile(path, make([]byte, countsSize), 0o666); err != nil {
		return fmt.Errorf("create count file: %w", err)
	}
	return nil
}

// ReadCounts returns the counts of every start so far, the first one first. The
// file may be in use.
func ReadCounts(path string) ([]Count, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read count file: %w", err)
	}
	if len(b) != countsSize {
		return nil, fmt.Errorf("read count file %q: %d bytes, want %d", path, len(b), countsSize)
	}
	starts := binary.LittleEndian.Uint64(b)
	if starts > maxStarts {
		return nil, fmt.Errorf("read count file %q: %d starts, at most %d are possible", path, starts, maxStarts)
	}
	counts := make([]Count, starts)
	for k := range counts {
		for s := range record.NumStreams {
			counts[k].Lines[s] = binary.LittleEndian.Uint64(b[16*(k+1)+8*s:])
		}
	}
	return counts, nil
}

// Counter is a writer's side of a count file. Use it from one goroutine.
type Counter struct {
	words []atomic.Uint64
	start int
}

// OpenCounts maps the count file at path, and begins a new start in it. The
// mapping lasts as long as the process.
func OpenCounts(path string) (*Counter, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open count file: %w", err)
	}
	defer f.Close()
	b, err := syscall.Mmap(int(f.Fd()), 0, countsSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map count file %q: %w", path, err)
	}
	c := &Counter{words: unsafe.Slice((*atomic.Uint64)(unsafe.Pointer(unsafe.SliceData(b))), countsSize/8)}
	if c.words[0].Load() >= maxStarts {
		return nil, errors.New("open count file: no room for another start")
	}
	c.start = int(c.words[0].Add(1))
	return c, nil
}

// Start returns the number of this start, from 1.
func (c *Counter) Start() int { return c.start }

// Set records that n lines were written to a stream in this start.
func (c *Counter) Set(stream record.Stream, n uint64) { c.words[2*c.start+int(stream)].Store(n) }

// RunOf returns the name of the run that a writer with a count file gives the
// lines of its start k, from 1.
func RunOf(run string, k int) string { return fmt.Sprintf("%s.%d", run, k) }
