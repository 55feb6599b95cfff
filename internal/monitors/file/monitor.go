// Package file captures the lines of plain files, and of those that Kubernetes
// keeps for containers.
//
// A Monitor looks for files that match patterns (discovery.go), follows each over
// its rotations with internal/tail, and makes records of its lines (source.go). It
// hands batches to a Dispatcher and promises that
//   - each line of a file that can be read is handed over once, in order, across
//     rotations of the file and restarts of the agent;
//   - the bytes of a line are those of the file, in whatever encoding;
//   - what it can't be sure of is counted as a suspected gap.
//
// docs/file-monitor.md names what is beyond it. Custody, and so the moving of
// positions, is the Dispatcher's.
//
// One goroutine owns the table of files. The files are read by the few goroutines
// of a tail.Set, whatever their number.
package file

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"log_capturer/internal/glob"
	"log_capturer/internal/lifetime"
	"log_capturer/internal/record"
	"log_capturer/internal/tail"
)

// Dispatcher takes batches and knows how far they came. *dispatcher.Dispatcher
// is one.
type Dispatcher interface {
	// Accept takes over b; it blocks while there is no room for it.
	Accept(ctx context.Context, b *record.Batch) error
	// Resume returns where the sinks stand in a source, setting those that do
	// not know it yet to start.
	Resume(source string, start record.Cursor) ([]record.Cursor, error)
	// Forget removes a source that will not come again.
	Forget(source string) error
}

// Format says how the lines of a file are written.
type Format string

// The formats.
const (
	// FormatAuto is FormatCRI where the first line is an entry of that, and else
	// FormatPlain.
	FormatAuto  Format = "auto"
	FormatPlain Format = "plain"
	FormatCRI   Format = "cri"
)

// Files says which files are captured, and how.
type Files struct {
	Include, Exclude []*glob.Pattern
	// Labels are what records of these files have, besides what the names in the
	// patterns stand for.
	Labels map[string]string
	// StartAtEnd leaves out what a file holds that the first look found; StartAge
	// does so only where the file was not written to for so long.
	StartAtEnd bool
	StartAge   time.Duration
	Format     Format
}

// Options say what a Monitor captures and how. All fields are required unless
// stated.
type Options struct {
	Dispatcher Dispatcher
	// Host is the name of this machine in records.
	Host string
	// Files are the files to capture. The first entry that a file belongs to has
	// it.
	Files []Files
	// Own is the directory of the agent's own files, which are never captured.
	// It is absolute. Optional.
	Own string
	// Since is when another monitor of this agent has ended that this one follows: a
	// file that was made later is read from its head. Optional.
	Since time.Time
	// ScanInterval is how often the patterns are looked for.
	ScanInterval time.Duration
	// RotateWait is how long a renamed file must be silent before it is left.
	RotateWait time.Duration
	// MaxOpenFiles is the number of files open at once.
	MaxOpenFiles int
	// MaxLineBytes is the length at which lines are cut.
	MaxLineBytes int
	// PositionRetention is how long the position of a removed file is kept.
	PositionRetention time.Duration
	// Known returns the keys of all sources that have positions. They are asked
	// for once, after the first look.
	Known func() []string
	// NoWatch turns the kernel's help off, for tests of what is without it.
	NoWatch bool
	Logger  *slog.Logger
}

// keyPrefix begins the source key of a file.
const keyPrefix = "file/"

// Monitor captures files. Make it with New, start it with Run.
type Monitor struct {
	opts   Options
	logger *slog.Logger
	set    *tail.Set
	lister tail.Lister
	// appeared has a token while there may be files that were not looked at.
	appeared chan struct{}
	// dirs are the directories that are watched for new files, and toldProblem
	// says that it was told why some are not. Both belong to the goroutine of
	// scan.
	dirs        map[string]bool
	toldProblem bool
	// aliases are paths of files that are, or were, followed under another one,
	// such as what a log was renamed to. It belongs to the goroutine of scan too.
	aliases map[string]inode

	mu sync.Mutex
	// table holds all files by path. Only the goroutine of scan changes it.
	table map[string]*source
	// scanned is set when the first look is over, and scanError is why the last
	// one could not look everywhere.
	scanned   bool
	scanError error
	// refused are the files that can't be opened, and why.
	refused map[string]string
	// orphans are sources that have positions but no file, since when, and
	// whether the file was read to its end.
	orphans map[string]orphan
	retired totals
}

type orphan struct {
	since time.Time
	ended bool
}

// New returns a monitor. It starts nothing.
func New(opts Options) *Monitor {
	m := &Monitor{
		opts:     opts,
		logger:   opts.Logger.With("component", "file_monitor"),
		appeared: make(chan struct{}, 1),
		table:    map[string]*source{}, dirs: map[string]bool{}, orphans: map[string]orphan{}, aliases: map[string]inode{}, refused: map[string]string{},
	}
	m.set = tail.NewSet(tail.SetOptions{
		MaxOpen: opts.MaxOpenFiles, NoWatch: opts.NoWatch,
		Appeared: func(path string) {
			if path == "" || m.isWanted(path) {
				m.lookSoon()
			}
		},
	})
	return m
}

// lookSoon has the patterns looked for without waiting for the interval.
func (m *Monitor) lookSoon() {
	select {
	case m.appeared <- struct{}{}:
	default:
	}
}

// isWanted reports whether a file of this path would be captured, or is a
// directory in which there may be such files.
func (m *Monitor) isWanted(path string) bool {
	if info, err := stat(path); err == nil && info.IsDir() {
		return true
	}
	_, _, ok := m.match(path)
	return ok
}

// Run captures until ctx is done, and returns when all files are closed.
func (m *Monitor) Run(ctx context.Context) error {
	group := lifetime.NewGroup(ctx)
	group.Go("file_monitor", m.set.Run)
	group.Go("file_monitor", m.discover)
	err := group.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.table {
		s.drop()
	}
	return err
}

// match returns the entry of Files that a path belongs to, and its labels.
func (m *Monitor) match(path string) (*Files, map[string]string, bool) {
	if m.opts.Own != "" && within(path, m.opts.Own) {
		return nil, nil, false
	}
	for i := range m.opts.Files {
		f := &m.opts.Files[i]
		for _, p := range f.Include {
			values, ok := p.Match(path)
			if !ok {
				continue
			}
			if f.excludes(path) {
				break
			}
			labels := f.Labels
			if names := p.Names(); len(names) > 0 {
				labels = make(map[string]string, len(f.Labels)+len(names))
				for name, value := range f.Labels {
					labels[name] = value
				}
				for j, name := range names {
					labels[name] = values[j]
				}
			}
			return f, labels, true
		}
	}
	return nil, nil, false
}

func (f *Files) excludes(path string) bool {
	for _, p := range f.Exclude {
		if _, ok := p.Match(path); ok {
			return true
		}
	}
	return isCompressed(path)
}

// isCompressed reports whether a file is one that was compressed: a log is not
// written in that form.
func isCompressed(path string) bool {
	switch filepath.Ext(path) {
	case ".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip":
		return true
	}
	return false
}

// within reports whether path is dir, or below it.
func within(path, dir string) bool {
	return path == dir || len(path) > len(dir) && path[:len(dir)] == dir && path[len(dir)] == '/'
}
