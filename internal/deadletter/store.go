package deadletter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"log_capturer/internal/vfs"
)

// Options configure a Store. Zero values set no limit.
type Options struct {
	// MaxBytes bounds the size of the files. The oldest are given up for it.
	MaxBytes int64
	// MaxAge is how long a letter is kept. A file goes when its newest letter is
	// older.
	MaxAge time.Duration
	// FS is the file system; nil means vfs.OS.
	FS vfs.FS
	// Logger is required.
	Logger *slog.Logger
}

// Store keeps dead letters, numbered from 0. Its methods may be called from
// several goroutines at once.
//
// The files are <first>.jsonl, with the letters from that number on, one a line,
// and <first>.removed, with the numbers of those that were replayed or purged. A
// file goes when all of its letters were removed.
type Store struct {
	opts Options
	dir  string
	// fileBytes is the size at which a further file is begun.
	fileBytes int64

	mu    sync.Mutex
	parts []*part // oldest first; the last one is appended to
	err   error   // of the last Append
	kinds []kind
	held  map[kind]uint64
	given map[kind]map[string]uint64 // by why they were given up
}

// kind is what metrics tell letters apart by.
type kind struct{ sink, reason string }

// maxKinds bounds the kinds; the reasons of further ones are "other".
const maxKinds = 1000

// part is a file of letters.
type part struct {
	first   uint64
	letters *File
	removed *File // nil until something is removed
	gone    map[uint64]struct{}
	kinds   []uint16 // of each letter, by its place
	newest  time.Time
}

func (p *part) end() uint64 { return p.first + uint64(len(p.kinds)) }

func (p *part) size() int64 {
	size := p.letters.Size()
	if p.removed != nil {
		size += p.removed.Size()
	}
	return size
}

const (
	lettersSuffix = ".jsonl"
	removedSuffix = ".removed"
	// defaultFileBytes is Store.fileBytes without a cap; with one it is at most
	// a sixteenth of that.
	defaultFileBytes = 4 << 20
)

func (s *Store) path(first uint64, suffix string) string {
	return filepath.Join(s.dir, fmt.Sprintf("%020d%s", first, suffix))
}

// OpenStore opens the store in dir, which it makes if it is missing.
func OpenStore(dir string, opts Options) (_ *Store, err error) {
	if opts.FS == nil {
		opts.FS = vfs.OS{}
	}
	s := &Store{opts: opts, dir: dir, held: map[kind]uint64{}, given: map[kind]map[string]uint64{}, fileBytes: defaultFileBytes}
	if opts.MaxBytes > 0 {
		s.fileBytes = min(s.fileBytes, opts.MaxBytes/16)
	}
	if err := vfs.MakeDir(opts.FS, dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory of dead letters: %w", err)
	}
	entries, err := opts.FS.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	removed := map[uint64]bool{}
	for _, e := range entries {
		if digits, ok := strings.CutSuffix(e.Name(), removedSuffix); ok {
			first, err := strconv.ParseUint(digits, 10, 64)
			removed[first] = err == nil
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	for _, e := range entries {
		digits, ok := strings.CutSuffix(e.Name(), lettersSuffix)
		first, parseErr := strconv.ParseUint(digits, 10, 64)
		if !ok || parseErr != nil {
			continue
		}
		if err := s.openPart(first, removed[first]); err != nil {
			return nil, err
		}
	}
	return s, s.tidy()
}

// openPart opens a file of letters, and that of its removals if there is one.
func (s *Store) openPart(first uint64, hasRemoved bool) error {
	letters, err := OpenFS(s.opts.FS, s.path(first, lettersSuffix))
	if err != nil {
		return err
	}
	p := &part{first: first, letters: letters, gone: map[uint64]struct{}{}}
	s.parts = append(s.parts, p)
	err = letters.eachLine(func(_ uint64, line []byte) error {
		var o struct {
			Time         time.Time
			Sink, Reason string
		}
		if err := json.Unmarshal(line, &o); err != nil {
			// It keeps its number, and is shown for what it is.
			o.Reason = "unreadable"
		}
		p.newest = o.Time
		p.kinds = append(p.kinds, s.kindOf(o.Sink, o.Reason))
		return nil
	})
	if err != nil {
		return err
	}
	if hasRemoved {
		if p.removed, err = OpenFS(s.opts.FS, s.path(first, removedSuffix)); err != nil {
			return err
		}
		err = p.removed.eachLine(func(_ uint64, line []byte) error {
			if id, err := strconv.ParseUint(string(line), 10, 64); err == nil && id >= p.first && id < p.end() {
				p.gone[id] = struct{}{}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for i, k := range p.kinds {
		if _, gone := p.gone[p.first+uint64(i)]; !gone {
			s.held[s.kinds[k]]++
		}
	}
	return nil
}

// kindOf returns the number of a kind.
func (s *Store) kindOf(sink, reason string) uint16 {
	k := kind{sink, reason}
	i := slices.Index(s.kinds, k)
	if i < 0 && len(s.kinds) >= maxKinds {
		k.reason = "other"
		i = slices.Index(s.kinds, k)
	}
	if i < 0 {
		i = len(s.kinds)
		s.kinds = append(s.kinds, k)
	}
	return uint16(i)
}

// Append writes the entries, and returns when they are on disk. On an error none
// of them counts as written, and it may be called again with the same or others.
// Where there is no room under MaxBytes the oldest letters are given up.
func (s *Store) Append(entries []Entry) error {
	if len(entries) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = s.append(entries)
	return s.err
}

func (s *Store) append(entries []Entry) error {
	lines, err := encode(entries)
	if err != nil {
		return err
	}
	if n := len(s.parts); n == 0 || s.parts[n-1].letters.Size() >= s.fileBytes {
		var first uint64
		if n > 0 {
			first = s.parts[n-1].end()
		}
		letters, err := OpenFS(s.opts.FS, s.path(first, lettersSuffix))
		if err != nil {
			return err
		}
		s.parts = append(s.parts, &part{first: first, letters: letters, gone: map[uint64]struct{}{}})
	}
	for s.opts.MaxBytes > 0 && len(s.parts) > 1 && s.bytes()+int64(len(lines)) > s.opts.MaxBytes {
		if err := s.giveUp(s.parts[0], "full"); err != nil {
			return err
		}
	}
	p := s.parts[len(s.parts)-1]
	if err := p.letters.appendLines(lines); err != nil {
		return err
	}
	for _, e := range entries {
		k := s.kindOf(e.Sink, e.Reason)
		p.kinds = append(p.kinds, k)
		p.newest = e.Time
		s.held[s.kinds[k]]++
	}
	return nil
}

func (s *Store) bytes() (size int64) {
	for _, p := range s.parts {
		size += p.size()
	}
	return size
}

// giveUp removes a part with letters in it, and counts them.
func (s *Store) giveUp(p *part, why string) error {
	if err := s.removePart(p); err != nil {
		return err
	}
	n := 0
	for i, k := range p.kinds {
		if _, gone := p.gone[p.first+uint64(i)]; gone {
			continue
		}
		kind := s.kinds[k]
		s.held[kind]--
		if s.given[kind] == nil {
			s.given[kind] = map[string]uint64{}
		}
		s.given[kind][why]++
		n++
	}
	s.opts.Logger.Warn("dead_letters_given_up", "reason", why, "count", n, "first", p.first)
	return nil
}

// removePart removes the files of a part: the removals last, or the letters would
// come back after a crash between.
func (s *Store) removePart(p *part) error {
	for _, f := range []*File{p.letters, p.removed} {
		if f == nil {
			continue
		}
		if err := s.opts.FS.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove dead letters: %w", err)
		}
		if err := f.Close(); err != nil {
			s.opts.Logger.Warn("close_dead_letters_failed", "path", f.path, "error", err)
		}
	}
	s.parts = slices.DeleteFunc(s.parts, func(q *part) bool { return q == p })
	return s.opts.FS.SyncDir(s.dir)
}

// Remove removes letters, durably. Numbers that there are none of are passed
// over; it returns how many were removed.
func (s *Store) Remove(ids []uint64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	removed := 0
	for _, p := range slices.Clone(s.parts) {
		var lines []byte
		var own []uint64
		for _, id := range ids {
			if _, gone := p.gone[id]; id >= p.first && id < p.end() && !gone && !slices.Contains(own, id) {
				own = append(own, id)
				lines = append(strconv.AppendUint(lines, id, 10), '\n')
			}
		}
		if len(own) == 0 {
			continue
		}
		if p.removed == nil {
			f, err := OpenFS(s.opts.FS, s.path(p.first, removedSuffix))
			if err != nil {
				return removed, err
			}
			p.removed = f
		}
		if err := p.removed.appendLines(lines); err != nil {
			return removed, err
		}
		for _, id := range own {
			p.gone[id] = struct{}{}
			s.held[s.kinds[p.kinds[id-p.first]]]--
		}
		removed += len(own)
	}
	return removed, s.tidy()
}

// tidy removes the parts that hold nothing any more. The last one stays: its name
// holds the number of the next letter.
func (s *Store) tidy() error {
	for _, p := range slices.Clone(s.parts) {
		if p != s.parts[len(s.parts)-1] && len(p.gone) == len(p.kinds) {
			if err := s.removePart(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// Run gives up letters that are too old, until ctx is done.
func (s *Store) Run(ctx context.Context) error {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		if err := s.expire(time.Now()); err != nil {
			s.opts.Logger.Warn("expire_dead_letters_failed", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

func (s *Store) expire(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.opts.MaxAge > 0 && len(s.parts) > 0 {
		p := s.parts[0]
		if len(p.kinds) == 0 || now.Sub(p.newest) <= s.opts.MaxAge {
			return nil
		}
		if len(s.parts) == 1 {
			// The next letter's number must outlive it.
			next, err := OpenFS(s.opts.FS, s.path(p.end(), lettersSuffix))
			if err != nil {
				return err
			}
			s.parts = append(s.parts, &part{first: p.end(), letters: next, gone: map[uint64]struct{}{}})
		}
		if err := s.giveUp(p, "expired"); err != nil {
			return err
		}
	}
	return nil
}

// Close closes the files.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, p := range s.parts {
		errs = append(errs, p.letters.Close())
		if p.removed != nil {
			errs = append(errs, p.removed.Close())
		}
	}
	s.parts = nil
	return errors.Join(errs...)
}
