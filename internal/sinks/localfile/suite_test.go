package localfile

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"log_capturer/internal/delivery"
	"log_capturer/internal/record"
	"log_capturer/internal/sinks/sinktest"
)

// suiteTarget is a directory as the suite wants a destination.
type suiteTarget struct {
	t       *testing.T
	dir     string
	journal *journal

	mu     sync.Mutex
	writes int
	count  int
	fault  func(int) sinktest.Fault
}

// targetFS is the real file system, whose writes go wrong as the suite says.
type targetFS struct {
	fileSystem
	target *suiteTarget
}

func (f targetFS) OpenFile(name string, flag int, perm os.FileMode) (handle, error) {
	h, err := f.fileSystem.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return targetHandle{h, f.target}, nil
}

type targetHandle struct {
	handle
	target *suiteTarget
}

func (h targetHandle) Write(p []byte) (int, error) {
	switch h.target.next().Kind {
	case sinktest.Busy:
		return 0, errFault
	case sinktest.Lost:
		n, err := h.handle.Write(p)
		return n, errors.Join(err, errFault)
	}
	return h.handle.Write(p)
}

func (s *suiteTarget) next() sinktest.Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	if s.fault == nil {
		return sinktest.Fault{}
	}
	s.count++
	return s.fault(s.count - 1)
}

func (s *suiteTarget) Lines() []sinktest.Line {
	paths, err := filepath.Glob(filepath.Join(s.dir, "*.log"))
	if err != nil {
		s.t.Fatal(err)
	}
	var lines []sinktest.Line
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			s.t.Fatal(err)
		}
		for text := range strings.Lines(string(content)) {
			var v struct {
				Line, Stream string
				Name         string `json:"container_name"`
			}
			if err := json.Unmarshal([]byte(text), &v); err != nil {
				s.t.Fatalf("%q: %v", text, err)
			}
			line := sinktest.Line{Source: v.Name, Text: v.Line}
			if v.Stream == "stderr" {
				line.Stream = record.Stderr
			}
			lines = append(lines, line)
		}
	}
	return lines
}

func (s *suiteTarget) Violations() []string { return nil }
func (s *suiteTarget) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes
}
func (s *suiteTarget) SetFault(fault func(int) sinktest.Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault, s.count = fault, 0
}
func (s *suiteTarget) Journal() delivery.Journal { return s.journal }

// Connections is negative: a file system is always there.
func (s *suiteTarget) Connections() int            { return -1 }
func (s *suiteTarget) SetRefuse(func(string) bool) {}
func (s *suiteTarget) SetLimit(int)                {}
func (s *suiteTarget) SetToken(string)             {}
func (s *suiteTarget) Close()                      {}

func TestSuite(t *testing.T) {
	start := func(t *testing.T, _ *tls.Config) sinktest.Target {
		return &suiteTarget{t: t, dir: t.TempDir(), journal: newJournal()}
	}
	create := func(t *testing.T, to sinktest.Target, _ sinktest.Connect) delivery.Sink {
		t.Helper()
		d := to.(*suiteTarget)
		s, err := newSink(Options{
			Name: "tested", Dir: d.dir, Path: "{data_dir}/{container_name}.log", Format: FormatJSON,
			Logger: slog.New(slog.DiscardHandler), Journal: d.journal,
		}, targetFS{osFileSystem{}, d}, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	// Whatever a record holds is written: a refusal, a limit of size, and a time
	// to come back are answers of somebody, and a file system gives none.
	answers := func(t *testing.T) {
		d := start(t, nil)
		s := create(t, d, sinktest.Connect{})
		for _, text := range []string{"", "a\xff\x00b", strings.Repeat("x", 8<<20)} {
			if err := s.Send(t.Context(), request(lines(container("web"), time.Unix(1, 0), text))); err != nil {
				t.Errorf("a line of %d bytes: %v", len(text), err)
			}
		}
		d.SetFault(func(int) sinktest.Fault { return sinktest.Fault{Kind: sinktest.Busy} })
		err := s.Send(t.Context(), sinktest.Request(3))
		_, after := errors.AsType[*delivery.RetryAfterError](err)
		if err == nil || after {
			t.Errorf("on a full disk: %v", err)
		}
	}
	noStalls := func(t *testing.T) {
		d := start(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := create(t, d, sinktest.Connect{}).Send(ctx, sinktest.Request(3)); !errors.Is(err, context.Canceled) {
			t.Errorf("after its end: %v", err)
		}
		if n := len(d.Lines()); n != 0 {
			t.Errorf("%d lines were written", n)
		}
	}
	noConnection := func(t *testing.T) {
		for _, f := range reflect.VisibleFields(reflect.TypeFor[Options]()) {
			if name := strings.ToLower(f.Name); strings.Contains(name, "tls") || strings.Contains(name, "token") || strings.Contains(name, "url") {
				t.Errorf("there is an option %s", f.Name)
			}
		}
	}
	sinktest.Run(t, sinktest.Harness{
		Start: start, New: create, Once: true, SerialOnly: true,
		Lacks: map[sinktest.Feature]sinktest.Lack{
			sinktest.PartialRefusal: {Reason: "a file takes every record", Shown: answers},
			sinktest.TooLarge:       {Reason: "a file takes a request of any size", Shown: answers},
			sinktest.RetryAfter:     {Reason: "a disk does not say when it has room again", Shown: answers},
			sinktest.Stalls:         {Reason: "no context ends a write to a file; none begins after its end", Shown: noStalls},
			sinktest.Encryption:     {Reason: "there is no connection", Shown: noConnection},
			sinktest.Credentials:    {Reason: "there is no connection", Shown: noConnection},
		},
	})
}
