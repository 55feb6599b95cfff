package tail

import (
	"cmp"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Lister lists what plain files were rotated to. It remembers what directories
// hold, so that thousands of files that are rotated in one directory do not list
// it thousands of times. The zero Lister is ready, and may be used from several
// goroutines at once.
type Lister struct {
	mu   sync.Mutex
	dirs map[string]listing
}

// listing is what a directory held.
type listing struct {
	// names are sorted.
	names []string
	// modified is when the directory was changed last, before it was listed.
	modified time.Time
}

// maxListings is how many directories are remembered.
const maxListings = 64

// names returns the names in a directory, sorted.
func (l *Lister) names(dir string) ([]string, error) {
	if dir == "" {
		dir = "."
	}
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	modified := info.ModTime()
	l.mu.Lock()
	known, ok := l.dirs[dir]
	l.mu.Unlock()
	if ok && known.modified.Equal(modified) {
		return known.names, nil
	}
	began := time.Now()
	names, err := namesIn(dir)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	if began.Sub(modified) < hidden(modified) {
		return names, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dirs == nil || len(l.dirs) >= maxListings {
		l.dirs = map[string]listing{}
	}
	l.dirs[dir] = listing{names, modified}
	return names, nil
}

// hidden returns for how long after a change at a time another one may not show
// in it: some file systems keep times to the second, or two.
func hidden(modified time.Time) time.Duration {
	if modified.Nanosecond()%int(time.Millisecond) == 0 {
		return 3 * time.Second
	}
	return racy
}

// Rotations returns a Log.Rotated for a plain file, whatever rotates it: the
// files beside it whose names IsRotation takes for rotations of its name. They
// are ordered by when they were written last, and by name where that is equal.
//
// Names alone do not tell: the highest number is the oldest for logrotate and
// the newest for Log4j, and dates are written in any order.
func (l *Lister) Rotations(path string) func() ([]string, error) {
	return func() ([]string, error) {
		live := path
		if target, err := filepath.EvalSymlinks(path); err == nil {
			live = target
		}
		dir, base := filepath.Split(live)
		names, err := l.names(dir)
		if err != nil {
			return nil, err
		}
		type written struct {
			path    string
			time    int64
			number  int
			rotated string
		}
		var found []written
		stem := strings.TrimSuffix(base, extension(base))
		if stem == "" {
			stem = base
		}
		first, _ := slices.BinarySearch(names, stem)
		for _, name := range names[first:] {
			if !strings.HasPrefix(name, stem) {
				break
			}
			middle, ok := rotation(base, name)
			if !ok {
				continue
			}
			info, err := os.Stat(dir + name)
			if err != nil || !info.Mode().IsRegular() {
				continue // gone again, or not a log
			}
			found = append(found, written{dir + name, info.ModTime().UnixNano(), number(middle), middle})
		}
		slices.SortFunc(found, func(a, b written) int {
			return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(b.number, a.number), strings.Compare(a.rotated, b.rotated))
		})
		paths := make([]string, len(found))
		for i, f := range found {
			paths[i] = f.path
		}
		return paths, nil
	}
}

// number returns the number of a rotated file's name, or -1 for a date.
func number(middle string) int {
	n, err := strconv.Atoi(strings.TrimLeft(middle, ".-_"))
	if err != nil || n > math.MaxUint16 {
		return -1
	}
	return n
}
