package file

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"log_capturer/internal/glob"
	"log_capturer/internal/lifetime"
	"log_capturer/internal/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink is a dispatcher that keeps what it is given, and the cursors of a number
// of destinations, which acknowledge at once unless they are held.
type sink struct {
	mu      sync.Mutex
	cursors []map[string]record.Cursor
	held    []bool
	lines   map[string][]string
	marks   map[string][]string
	sources map[string]*record.Source
	forgot  []string
	// refuse is the error of the next Accept.
	refuse error
	// resumeError is the error of Resume while it is set.
	resumeError error
	// problems are what no batch should be like.
	problems []string
}

func newSink(destinations int) *sink {
	s := &sink{lines: map[string][]string{}, marks: map[string][]string{}, sources: map[string]*record.Source{}, held: make([]bool, destinations)}
	for range destinations {
		s.cursors = append(s.cursors, map[string]record.Cursor{})
	}
	return s
}

// Accept implements Dispatcher. The lines are those that the first destination
// takes.
func (s *sink) Accept(_ context.Context, b *record.Batch) error {
	defer b.Release()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refuse; err != nil {
		s.refuse = nil
		return err
	}
	key := b.Source.Key
	s.sources[key] = b.Source
	if total := b.To.Total() - b.CursorAt(0).Total(); b.From.Total() != 0 && total < uint64(len(b.Records)) {
		s.problems = append(s.problems, fmt.Sprintf("%s: %d records, cursor moves by %d", key, len(b.Records), total))
	}
	for i, cursors := range s.cursors {
		if s.held[i] {
			continue
		}
		c := cursors[key]
		var skip [record.NumStreams]uint64
		for st := range skip {
			if have, from := c.Streams[st].Seq, b.From.Streams[st].Seq; have > from {
				skip[st] = have - from
			}
		}
		for j := range b.Records {
			r := &b.Records[j]
			if skip[r.Stream] > 0 {
				skip[r.Stream]--
				continue
			}
			if i == 0 {
				s.lines[key] = append(s.lines[key], string(b.Line(r)))
				s.marks[key] = append(s.marks[key], fmt.Sprintf("%s%s %s", r.Stream, flags(r.Flags), b.Line(r)))
			}
		}
		c.Advance(b.To, record.AllStreams)
		cursors[key] = c
	}
	return nil
}

func flags(f record.Flags) (text string) {
	for i, name := range []string{"cut", "continued", "unterminated"} {
		if f&(1<<i) != 0 {
			text += "," + name
		}
	}
	return text
}

// Resume implements Dispatcher. A cursor goes through its encoding, as in the
// journal.
func (s *sink) Resume(key string, start record.Cursor) ([]record.Cursor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.resumeError != nil {
		return nil, s.resumeError
	}
	var known []record.Cursor
	for _, cursors := range s.cursors {
		c, ok := cursors[key]
		if !ok {
			c, cursors[key] = start, start
		}
		b, err := c.AppendBinary(nil)
		if err == nil {
			err = c.UnmarshalBinary(b)
		}
		if err != nil {
			return nil, err
		}
		known = append(known, c)
	}
	return known, nil
}

// Forget implements Dispatcher.
func (s *sink) Forget(key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgot = append(s.forgot, key)
	return nil
}

func (s *sink) known() (keys []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.cursors[0] {
		keys = append(keys, key)
	}
	return keys
}

func (s *sink) got(path string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines["file/"+path])
}

// rig runs a monitor over a directory.
type rig struct {
	t       *testing.T
	dir     string
	sink    *sink
	opts    Options
	monitor *Monitor
	group   *lifetime.Group
}

// files returns an entry of Options.Files.
func files(t *testing.T, include ...string) Files {
	t.Helper()
	f := Files{Format: FormatAuto}
	for _, text := range include {
		p, err := glob.Compile(text)
		if err != nil {
			t.Fatal(err)
		}
		f.Include = append(f.Include, p)
	}
	return f
}

func newRig(t *testing.T, destinations int) *rig {
	r := &rig{t: t, dir: t.TempDir(), sink: newSink(destinations)}
	r.opts = Options{
		Dispatcher: r.sink, Host: "node-1", Files: []Files{files(t, r.dir+"/*.log")},
		ScanInterval: 100 * time.Millisecond, MaxOpenFiles: 100, MaxLineBytes: 1 << 20,
		PositionRetention: time.Hour, Known: r.sink.known, Logger: slog.New(slog.DiscardHandler),
	}
	t.Cleanup(func() {
		r.stop()
		for _, problem := range r.sink.problems {
			t.Error(problem)
		}
	})
	return r
}

func (r *rig) start() {
	r.t.Helper()
	r.monitor = New(r.opts)
	r.group = lifetime.NewGroup(context.Background())
	r.group.Go("file_monitor", r.monitor.Run)
	r.eventually("the files were looked for", r.monitor.Ready)
}

func (r *rig) stop() {
	if r.group == nil {
		return
	}
	r.group.Cancel()
	if err := r.group.Wait(); err != nil {
		r.t.Error(err)
	}
	r.group = nil
}

func (r *rig) restart() {
	r.t.Helper()
	r.stop()
	r.start()
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

// write appends to a file.
func (r *rig) write(name, text string) {
	r.t.Helper()
	must(r.t, os.MkdirAll(filepath.Dir(r.path(name)), 0o700))
	f, err := os.OpenFile(r.path(name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	must(r.t, err)
	_, err = f.WriteString(text)
	must(r.t, err)
	must(r.t, f.Close())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls a condition.
func (r *rig) eventually(what string, condition func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !condition() {
		if time.Now().After(deadline) {
			r.t.Fatalf("not within a minute: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// want waits until a file has given so many lines, and checks them.
func (r *rig) want(name string, want ...string) {
	r.t.Helper()
	r.eventually(fmt.Sprintf("%d lines of %s", len(want), name), func() bool { return len(r.sink.got(r.path(name))) >= len(want) })
	if got := r.sink.got(r.path(name)); !slices.Equal(got, want) {
		r.t.Errorf("%s gave\n  %s\nwant\n  %s", name, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// file returns the public state of a file.
func (r *rig) file(name string) (File, bool) {
	for _, f := range r.monitor.Files() {
		if f.Path == r.path(name) {
			return f, true
		}
	}
	return File{}, false
}
