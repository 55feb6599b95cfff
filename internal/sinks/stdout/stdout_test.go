package stdout

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"log_capturer/internal/delivery"
	"log_capturer/internal/jsondoc"
	"log_capturer/internal/sinks/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// target is a standard output as the suite wants a destination.
type target struct {
	t *testing.T

	mu     sync.Mutex
	out    bytes.Buffer
	writes int
	count  int
	fault  func(int) sinktest.Fault
}

var errFault = errors.New("injected")

// Write takes half of what it is given when it is busy.
func (s *target) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	if s.fault != nil {
		s.count++
		if s.fault(s.count-1).Kind != sinktest.None {
			n, _ := s.out.Write(p[:len(p)/2])
			return n, errFault
		}
	}
	return s.out.Write(p)
}

func (s *target) Lines() []sinktest.Line {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out.Len() == 0 {
		return nil
	}
	lines, err := sinktest.PlainNames.Documents(s.out.Bytes())
	if err != nil {
		s.t.Error(err)
	}
	return lines
}

func (s *target) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes
}

func (s *target) SetFault(fault func(int) sinktest.Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault, s.count = fault, 0
}

// Connections is negative: the standard output is always there.
func (s *target) Connections() int            { return -1 }
func (s *target) Violations() []string        { return nil }
func (s *target) SetRefuse(func(string) bool) {}
func (s *target) SetLimit(int)                {}
func (s *target) SetToken(string)             {}
func (s *target) Close()                      {}

func newSink(t *testing.T, out io.Writer) *Sink {
	t.Helper()
	s, err := New(Options{Out: out, Documents: jsondoc.Options{Time: "time", Line: "line", Fields: jsondoc.DefaultFields()}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSuite(t *testing.T) {
	noAnswers := func(t *testing.T) {
		d := &target{t: t}
		d.SetFault(func(int) sinktest.Fault { return sinktest.Fault{Kind: sinktest.Busy} })
		err := newSink(t, d).Send(t.Context(), sinktest.Request(3))
		_, after := errors.AsType[*delivery.RetryAfterError](err)
		_, partial := errors.AsType[*delivery.PartialError](err)
		_, permanent := errors.AsType[*delivery.PermanentError](err)
		if !errors.Is(err, errFault) || after || partial || permanent {
			t.Errorf("a write that failed: %v", err)
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
		Start: func(t *testing.T, _ *tls.Config) sinktest.Target { return &target{t: t} },
		New: func(t *testing.T, to sinktest.Target, _ sinktest.Connect) delivery.Sink {
			return newSink(t, to.(*target))
		},
		Once: true, SerialOnly: true,
		Lacks: map[sinktest.Feature]sinktest.Lack{
			sinktest.PartialRefusal: {Reason: "a stream of bytes takes every record", Shown: noAnswers},
			sinktest.TooLarge:       {Reason: "a stream of bytes takes any number of them", Shown: noAnswers},
			sinktest.RetryAfter:     {Reason: "a write does not say when to try again", Shown: noAnswers},
			sinktest.Stalls:         {Reason: "only a pipe or a terminal stalls; the suite has neither", Shown: testPipe},
			sinktest.Encryption:     {Reason: "there is no connection", Shown: noConnection},
			sinktest.Credentials:    {Reason: "there is no connection", Shown: noConnection},
		},
	})
}

// A pipe whose reader has stopped reading holds up an attempt until its context
// ends. The next attempt goes on where that one stopped.
func testPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	s := newSink(t, w)
	req := sinktest.Request(4000) // several times what a pipe holds
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Send(ctx, req) }()
	sinktest.Eventually(t, "the pipe is full", func() bool {
		ready, err := s.file.ready()
		return err == nil && !ready
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if s.written == 0 || s.written == len(req.Body) {
		t.Fatalf("%d of %d bytes were written", s.written, len(req.Body))
	}
	go func() {
		done <- s.Send(context.Background(), req)
		w.Close()
	}()
	out, err := io.ReadAll(r)
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out, req.Body) || bytes.Count(out, []byte("\n")) != 4000 {
		t.Errorf("%d bytes arrived, want %d", len(out), len(req.Body))
	}
}

func TestText(t *testing.T) {
	var out bytes.Buffer
	s, err := New(Options{Out: &out, Text: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), sinktest.Request(2)); err != nil {
		t.Fatal(err)
	}
	if want := "single stdout | single line 0\nsingle stdout | single line 1\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestEncodingAllocatesNothing(t *testing.T) {
	s := newSink(t, io.Discard)
	req := sinktest.Request(1000)
	req.Body = s.encode(req)
	if n := testing.AllocsPerRun(50, func() { req.Body = s.encode(req) }); n != 0 {
		t.Errorf("%v allocations for 1000 records", n)
	}
}
