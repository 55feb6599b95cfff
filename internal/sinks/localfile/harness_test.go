package localfile

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"log_capturer/internal/delivery"
	"log_capturer/internal/positions"
	"log_capturer/internal/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal is a journal in memory.
type journal struct {
	mu     sync.Mutex
	values map[string][]byte
	before []func() error
	// fault is asked before and after each commit.
	fault *fault
}

func newJournal() *journal { return &journal{values: map[string][]byte{}} }

func (j *journal) Get(key string) ([]byte, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	v, ok := j.values[key]
	return v, ok
}

func (j *journal) All(prefix string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		j.mu.Lock()
		defer j.mu.Unlock()
		for _, key := range slices.Sorted(maps.Keys(j.values)) {
			if strings.HasPrefix(key, prefix) && !yield(key, j.values[key]) {
				return
			}
		}
	}
}

func (j *journal) Commit(changes ...positions.Change) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.fault.do("commit", func() error {
		for _, c := range changes {
			if c.Value == nil {
				delete(j.values, c.Key)
			} else {
				j.values[c.Key] = bytes.Clone(c.Value)
			}
		}
		return nil
	})
}

func (j *journal) OnSync(before func() error) func() {
	j.before = append(j.before, before)
	at := len(j.before) - 1
	return func() { j.before[at] = func() error { return nil } }
}

func (j *journal) sync() error {
	var errs []error
	for _, before := range j.before {
		errs = append(errs, before())
	}
	return errors.Join(errs...)
}

// reopened returns the journal as the next process finds it.
func (j *journal) reopened() *journal { return &journal{values: maps.Clone(j.values)} }

// fault makes one operation go wrong. The nil fault makes none.
type fault struct {
	// at is the number of the operation, from 1.
	at int
	// applied says whether the operation has its effect before it goes wrong.
	applied bool
	// crash says that the process has ended: nothing has an effect any more.
	crash bool

	count int
	hit   string
}

// errFault is what an operation that goes wrong returns: a full disk, which the
// sink must get over.
var errFault = fmt.Errorf("injected: %w", syscall.ENOSPC)

// do runs an operation, unless it is to fail.
func (f *fault) do(name string, operation func() error) error {
	if f == nil {
		return operation()
	}
	f.count++
	switch {
	case f.count == f.at:
		f.hit = name
		if f.applied {
			if err := operation(); err != nil {
				return err
			}
		}
		return errFault
	case f.crash && f.hit != "":
		return errFault
	}
	return operation()
}

// faultyFS is the real file system with a fault.
type faultyFS struct {
	fileSystem
	fault *fault
}

func (f faultyFS) OpenFile(name string, flag int, perm fs.FileMode) (h handle, err error) {
	err = f.fault.do("open "+name, func() error {
		h, err = f.fileSystem.OpenFile(name, flag, perm)
		return err
	})
	if err != nil {
		if h != nil {
			h.Close()
		}
		return nil, err
	}
	return faultyHandle{h, f.fault}, nil
}

func (f faultyFS) Stat(name string) (st status, err error) {
	err = f.fault.do("stat "+name, func() error {
		st, err = f.fileSystem.Stat(name)
		return err
	})
	return st, err
}

func (f faultyFS) MkdirAll(dir string, perm fs.FileMode) error {
	return f.fault.do("mkdir "+dir, func() error { return f.fileSystem.MkdirAll(dir, perm) })
}

func (f faultyFS) Rename(from, to string) error {
	return f.fault.do("rename "+from, func() error { return f.fileSystem.Rename(from, to) })
}

func (f faultyFS) Remove(name string) error {
	return f.fault.do("remove "+name, func() error { return f.fileSystem.Remove(name) })
}

type faultyHandle struct {
	handle
	fault *fault
}

// Write writes half of p when it goes wrong after it had an effect.
func (h faultyHandle) Write(p []byte) (n int, err error) {
	half := h.fault != nil && h.fault.count+1 == h.fault.at
	err = h.fault.do("write", func() error {
		if half {
			p = p[:len(p)/2]
		}
		n, err = h.handle.Write(p)
		return err
	})
	return n, err
}

func (h faultyHandle) Truncate(size int64) error {
	return h.fault.do("truncate", func() error { return h.handle.Truncate(size) })
}

func (h faultyHandle) Sync() error {
	return h.fault.do("sync", func() error { return nil })
}

// world is what outlives a process: a directory, a journal, a clock.
type world struct {
	t       testing.TB
	dir     string
	journal *journal
	clock   time.Time
	opts    Options
	sink    *Sink
}

func newWorld(t testing.TB, change func(*Options)) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), journal: newJournal(), clock: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}
	w.opts = Options{
		Name: "files", Dir: w.dir, Path: "{data_dir}/{container_name}.log", Format: FormatJSON,
		Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&w.opts)
	}
	return w
}

// start starts a process: the one before it is gone, as after kill -9.
func (w *world) start(f *fault) *Sink {
	w.t.Helper()
	w.stop()
	w.journal = w.journal.reopened()
	w.journal.fault = f
	opts := w.opts
	opts.Journal = w.journal
	s, err := newSink(opts, faultyFS{osFileSystem{}, f}, func() time.Time { return w.clock })
	if err != nil {
		w.t.Fatal(err)
	}
	s.Begin()
	w.sink = s
	return s
}

// stop closes what the kernel would close.
func (w *world) stop() {
	if w.sink == nil {
		return
	}
	for e := w.sink.open.Front(); e != nil; e = e.Next() {
		e.Value.(*activeFile).handle.Close()
	}
	w.sink = nil
}

// deliver makes one attempt and commits it as the delivery does.
func (w *world) deliver(batches ...*record.Batch) error {
	req := request(batches...)
	if err := w.sink.Send(context.Background(), req); err != nil {
		return err
	}
	return w.journal.Commit(req.Changes...)
}

func (w *world) mustDeliver(batches ...*record.Batch) {
	w.t.Helper()
	if err := w.deliver(batches...); err != nil {
		w.t.Fatal(err)
	}
}

func request(batches ...*record.Batch) *delivery.Request {
	req := &delivery.Request{}
	for _, b := range batches {
		req.Parts = append(req.Parts, delivery.Part{Batch: b, To: len(b.Records), Streams: record.AllStreams})
	}
	return req
}

func container(name string) *record.Source {
	return &record.Source{
		Key: "container/" + name, Host: "node-1", ContainerID: strings.Repeat("0123456789abcdef", 4),
		ContainerName: name, Image: "example/app:1", ComposeProject: "shop", ComposeService: "front",
	}
}

// lines returns a batch of lines on stdout, a second apart.
func lines(src *record.Source, at time.Time, texts ...string) *record.Batch {
	b := record.NewBatch(src, 100)
	for i, text := range texts {
		b.Append(record.Record{Time: at.Add(time.Duration(i) * time.Second).UnixNano()}, []byte(text))
	}
	return b
}

// contents returns the files of the world by their path below its directory,
// decompressed.
func (w *world) contents() map[string]string {
	w.t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		switch filepath.Ext(path) {
		case ".zst":
			decoder, err := zstd.NewReader(nil)
			if err != nil {
				return err
			}
			defer decoder.Close()
			if data, err = decoder.DecodeAll(data, nil); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		case ".gz":
			reader, err := gzip.NewReader(bytes.NewReader(data))
			if err != nil {
				return err
			}
			if data, err = io.ReadAll(reader); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
		rel, err := filepath.Rel(w.dir, path)
		files[rel] = string(data)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return files
}

func (w *world) names() []string { return slices.Sorted(maps.Keys(w.contents())) }

// wantNames compares the names of all files.
func (w *world) wantNames(want ...string) {
	w.t.Helper()
	if got := w.names(); !slices.Equal(got, want) {
		w.t.Fatalf("files %q, want %q", got, want)
	}
}

// textOf returns the lines of a file in JSON format.
func textOf(t testing.TB, content string) []string {
	t.Helper()
	var texts []string
	if content != "" && !strings.HasSuffix(content, "\n") {
		t.Fatalf("a torn line at the end: %q", content)
	}
	for line := range strings.Lines(content) {
		var v struct{ Line string }
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		texts = append(texts, v.Line)
	}
	return texts
}
