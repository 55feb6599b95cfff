package localfile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// retain deletes the closed files that are past their retention.
func (s *Sink) retain(ctx context.Context) {
	s.mu.Lock()
	paths := expired(s.closed, s.opts.Retention, s.now())
	s.mu.Unlock()
	for _, path := range paths {
		if ctx.Err() != nil {
			return
		}
		if err := s.delete(path); err != nil {
			s.maintenanceFailed(opDelete, explain(err))
		}
	}
}

// expired returns the paths of the files that limits do not allow to be kept,
// oldest first.
func expired(closed map[string]closedEntry, limits Retention, now time.Time) []string {
	newestFirst := slices.SortedFunc(maps.Keys(closed), func(a, b string) int {
		return cmp.Or(cmp.Compare(closed[b].closed, closed[a].closed), cmp.Compare(b, a))
	})
	var paths []string
	var total int64
	count := map[string]int{}
	for _, path := range newestFirst {
		c := closed[path]
		switch {
		case limits.MaxFiles > 0 && count[c.active] >= limits.MaxFiles,
			limits.MaxAge > 0 && now.UnixNano()-c.last >= int64(limits.MaxAge),
			limits.MaxTotalBytes > 0 && total+c.length > limits.MaxTotalBytes:
			paths = append(paths, path)
		default:
			total += c.length
			count[c.active]++
		}
	}
	slices.Reverse(paths)
	return paths
}

// delete removes a closed file from the disk, and then from the journal. A file
// that is not the one that the journal speaks of is only forgotten.
func (s *Sink) delete(path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.closed[path]
	_, err := s.check(path, c.identity)
	if err != nil && !errors.Is(err, errAbsent) {
		return fmt.Errorf("delete file: %w", err)
	}
	there := err == nil
	if !isCompressed(path, c) {
		// A compression that failed may have left its result.
		for _, method := range []Compression{Zstd, Gzip} {
			compressed := path + method.extension()
			err := errors.Join(s.removeIfThere(compressed+temporaryExtension), s.removeIfThere(compressed))
			if err != nil {
				return fmt.Errorf("delete file: %w", err)
			}
		}
	}
	if there {
		if err := s.removeIfThere(path); err != nil {
			return fmt.Errorf("delete file: %w", err)
		}
		s.removeEmptyDirs(path)
		s.counters.deletions.Add(1)
	}
	return s.dropClosed(path)
}
