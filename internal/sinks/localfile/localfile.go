// Package localfile delivers records to files on the agent's machine.
//
// It owns the files that its path template names, and what becomes of them:
// writing, rotation, compression, retention. It promises that
//   - a file holds every record once and whole, also after the process was
//     killed at any point of any of these (see below);
//   - no value that a container brings leads outside the directory that the
//     template's own text names (see appendSafe);
//   - it holds a bounded number of open files and a bounded amount of memory,
//     however many containers there are;
//   - it deletes only files that it has made.
//
// Retry, batching and the cursors are the delivery's; that the journal survives
// a crash is the journal's.
//
// # How a file holds every record once
//
// The journal holds each active file's identity and length, and the length is
// committed in one step with the cursors of the records that it covers
// (delivery.Request.Changes). So whatever a file holds past its journaled
// length belongs to records that will come again, and is cut off: at the start
// of the process, and before the next write when an attempt failed or the
// delivery did not commit it. Nothing is written to a file whose identity the
// journal does not hold. A rotation is announced in the journal before the file
// is renamed, and an interrupted one is finished at the next start.
//
// It follows that a sink runs with one Send at a time, and that the changes of
// a request are committed before the next Send.
//
// Files that others removed, replaced or shortened are reported, never cut:
// what they hold is not what the journal speaks of.
//
// After a power loss the journal may be older than the files, which is handled
// the same way. Files are on disk before the journal that speaks of them
// (Journal.OnSync).
package localfile

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"log_capturer/internal/delivery"
	"log_capturer/internal/positions"
	"log_capturer/internal/record"
)

// Format is how a record becomes a line of a file.
type Format string

// The formats. FormatText keeps the line's bytes alone, and a newline: a
// carriage return or a NUL in a line stays what it is. FormatJSON keeps
// everything that is known of a record, and every line to the byte.
const (
	FormatJSON Format = "json"
	FormatText Format = "text"
)

// Compression is what is done to closed files.
type Compression string

// The compressions.
const (
	Zstd Compression = "zstd"
	Gzip Compression = "gzip"
	None Compression = "none"
)

// extension returns what a compressed file's name ends with.
func (c Compression) extension() string {
	switch c {
	case Zstd:
		return ".zst"
	case Gzip:
		return ".gz"
	}
	return ""
}

// Rotate says when an active file is closed. A zero value sets no limit.
type Rotate struct {
	// MaxBytes is a file's largest size. Only a file of a single request is
	// larger, when that request is.
	MaxBytes int64
	// MaxAge is the longest time between a file's first record and its closing,
	// also when nothing more is written to it.
	MaxAge time.Duration
}

// Retention says which closed files are deleted, oldest first. A zero value
// sets no limit. Active files are never deleted, but one that was idle for
// MaxAge is closed. Files that the journal does not know, because it was lost,
// are left alone.
type Retention struct {
	// MaxFiles is the number of closed files that are kept of each path.
	MaxFiles int
	// MaxAge is the longest time that a closed file is kept, counted from its
	// last record.
	MaxAge time.Duration
	// MaxTotalBytes is the size of all closed files of this sink.
	MaxTotalBytes int64
}

// Journal is where lengths and identities of files are kept, together with the
// cursors. *positions.Journal is one.
type Journal interface {
	Get(key string) ([]byte, bool)
	// All yields the keys with this prefix.
	All(prefix string) iter.Seq2[string, []byte]
	// Commit makes all changes in one atomic step that a crash of the process
	// survives.
	Commit(changes ...positions.Change) error
	// OnSync registers what is to be called before the journal goes to disk, until
	// remove is called.
	OnSync(before func() error) (remove func())
}

// Options say how a Sink works. Name, Path, Format, Logger and Journal are
// required.
type Options struct {
	// Name is the sink's name in metrics, health and the journal's keys.
	Name string
	// Dir is what {data_dir} stands for in Path.
	Dir string
	// Path is the template of the active files' paths, with the placeholders of
	// package template. Records whose paths are equal share a file; two sinks
	// must not.
	Path string
	// Format is how a record becomes a line.
	Format Format
	// Rotate says when files are closed.
	Rotate Rotate
	// Compress is what is done to closed files; empty for nothing.
	Compress Compression
	// Retention says which closed files are deleted.
	Retention Retention
	Logger    *slog.Logger
	Journal   Journal
}

// maxOpenFiles bounds the files that are held open. The least recently used one
// is closed for another.
const maxOpenFiles = 128

// Sink writes records to files. It implements delivery.Sink, Grouper and
// Starter, health.Reporter and prometheus.Collector. Send must not be called
// from several goroutines at once; everything else may.
type Sink struct {
	opts    Options
	paths   *pathTemplate
	journal Journal
	logger  *slog.Logger
	fs      fileSystem
	now     func() time.Time

	sources  sourceCache
	unsynced unsyncedSet
	troubles troubles
	counters counters
	// wake tells Run that there is a new closed file.
	wake chan struct{}
	// compressAfter is when a compression may be tried again. Only Run uses it.
	compressAfter time.Time

	// mu guards what follows. It is not held while files are compressed or
	// synced.
	mu     sync.Mutex
	active map[string]*activeFile
	closed map[string]closedEntry
	// open holds the active files with an open handle, the most recently used
	// in front.
	open    list.List
	maxOpen int
	encoder encoder
	writes  []write
}

// write is what one request adds to one file.
type write struct {
	path string
	// until is the end of the time that path is for; see activeEntry.
	until int64
	data  []byte
}

var (
	_ delivery.Sink     = (*Sink)(nil)
	_ delivery.Grouper  = (*Sink)(nil)
	_ delivery.Beginner = (*Sink)(nil)
	_ delivery.Starter  = (*Sink)(nil)
	_ delivery.Checker  = (*Sink)(nil)
)

// New returns a Sink. Its only errors are those of its options. It touches no file
// before Begin.
func New(opts Options) (*Sink, error) {
	return newSink(opts, osFileSystem{}, time.Now)
}

func newSink(opts Options, fs fileSystem, now func() time.Time) (*Sink, error) {
	switch opts.Format {
	case FormatJSON, FormatText:
	default:
		return nil, fmt.Errorf("local_file sink %q: unknown format %q; use json or text", opts.Name, opts.Format)
	}
	switch opts.Compress {
	case Zstd, Gzip, None, "":
	default:
		return nil, fmt.Errorf("local_file sink %q: unknown compression %q; use zstd, gzip or none",
			opts.Name, opts.Compress)
	}
	paths, err := compilePath(opts.Path, opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("local_file sink %q: %w", opts.Name, err)
	}
	s := &Sink{
		opts:     opts,
		paths:    paths,
		journal:  opts.Journal,
		logger:   opts.Logger.With("sink", opts.Name),
		fs:       fs,
		now:      now,
		unsynced: unsyncedSet{fs: fs},
		troubles: troubles{now: now},
		wake:     make(chan struct{}, 1),
		active:   map[string]*activeFile{},
		closed:   map[string]closedEntry{},
		maxOpen:  maxOpenFiles,
		encoder:  encoder{format: opts.Format},
	}
	s.sources.paths = paths
	return s, nil
}

// Begin has the files agree with the journal: what they hold past their journaled
// lengths is cut off. A file with which this was not possible is tried again
// before it is next written to. No other sink may use the files from here on, until
// end is called.
func (s *Sink) Begin() (end func()) {
	s.mu.Lock()
	s.recover()
	s.mu.Unlock()
	remove := s.journal.OnSync(s.sync)
	return func() {
		// While something is not on disk, the journal must not be either: what
		// can't be synced now is tried again with each of its syncs.
		if s.sync() == nil {
			remove()
		}
	}
}

// Group returns the path of the file that the stream's records go to. Where
// the path depends on the record's time, that part of it is not meant.
func (s *Sink) Group(src *record.Source, stream record.Stream) string {
	return s.sources.get(src).groups[stream]
}

// Send appends the request's records to their files. On an error, no file holds
// any of them, or what it holds is cut off before its next write. It does not
// use the request's Body.
func (s *Sink) Send(ctx context.Context, req *delivery.Request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.encode(req)
	defer s.trimBuffers()
	written := 0
	for i := range s.writes {
		w := &s.writes[i]
		f, err := s.prepare(w)
		if err == nil {
			err = s.append(f, w)
		}
		if err != nil {
			for j := range s.writes[:i] {
				s.undo(s.active[s.writes[j].path])
			}
			err = explain(err)
			s.troubles.writeFailed(err)
			s.counters.errors[opWrite].Add(1)
			return err
		}
		written += len(w.data)
	}
	for i := range s.writes {
		f := s.active[s.writes[i].path]
		req.Changes = append(req.Changes, positions.Change{Key: f.key, Value: f.value})
	}
	s.counters.bytes.Add(int64(written))
	s.troubles.writeSucceeded()
	return nil
}

// encode fills s.writes with the request's records.
func (s *Sink) encode(req *delivery.Request) {
	s.writes = s.writes[:0]
	for i := range req.Parts {
		p := &req.Parts[i]
		info := s.sources.get(p.Batch.Source)
		for j := p.From; j < p.To; j++ {
			r := &p.Batch.Records[j]
			if !p.Streams.Has(r.Stream) {
				continue
			}
			w := s.writeTo(info.target(s.paths, r.Stream, r.Time))
			w.data = s.encoder.append(w.data, r, p.Batch.Line(r), p.Batch.Derivation(r), info.fields)
		}
	}
}

// writeTo returns the request's write to the target's path. The latest is
// looked at first, since the next record is most often for the same file.
func (s *Sink) writeTo(t *target) *write {
	for i := len(s.writes) - 1; i >= 0; i-- {
		if s.writes[i].path == t.path {
			return &s.writes[i]
		}
	}
	n := len(s.writes)
	if n < cap(s.writes) {
		s.writes = s.writes[:n+1]
	} else {
		s.writes = append(s.writes, write{})
	}
	w := &s.writes[n]
	w.path, w.until, w.data = t.path, t.until, w.data[:0]
	return w
}

// Bounds on the buffers that are kept from request to request.
const (
	maxKeptBuffers = 8
	maxKeptBytes   = 4 << 20
)

// trimBuffers lets go of buffers that an unusual request has made large or
// many.
func (s *Sink) trimBuffers() {
	all := s.writes[:cap(s.writes)]
	if len(all) > maxKeptBuffers {
		clear(all)
		s.writes = nil
		return
	}
	kept := 0
	for i := range all {
		if kept += cap(all[i].data); kept > maxKeptBytes {
			all[i].data = nil
		}
	}
}

// activeKey returns the journal's key for an active file.
func (s *Sink) activeKey(path string) string { return s.activePrefix() + path }

// closedKey returns the journal's key for a closed file.
func (s *Sink) closedKey(path string) string { return s.closedPrefix() + path }

func (s *Sink) activePrefix() string { return "file/" + s.opts.Name + "/" }
func (s *Sink) closedPrefix() string { return "closed_file/" + s.opts.Name + "/" }

// commit writes changes of the sink's own to the journal.
func (s *Sink) commit(changes ...positions.Change) error {
	if err := s.journal.Commit(changes...); err != nil {
		return fmt.Errorf("write positions: %w", err)
	}
	return nil
}

// errAbsent says that a file is not there, or is another one.
var errAbsent = errors.New("the file was removed or replaced")

// check returns the status of the file at path if it is the one with this
// identity, and errAbsent if it is not.
func (s *Sink) check(path string, id identity) (status, error) {
	st, err := s.fs.Stat(path)
	if isAbsent(err) || err == nil && !st.identity.is(id) {
		return status{}, errAbsent
	}
	return st, err
}

// removeEmptyDirs removes the directories between root and a deleted file that
// have become empty. The caller holds s.mu, so that no file is made in them
// meanwhile.
func (s *Sink) removeEmptyDirs(path string) {
	for dir := filepath.Dir(path); isBelow(dir, s.paths.root); dir = filepath.Dir(dir) {
		if s.fs.Remove(dir) != nil {
			return // most often because it is not empty
		}
	}
}
