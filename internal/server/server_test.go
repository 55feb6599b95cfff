package server

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves opts on free ports until the test ends.
func start(t *testing.T, opts Options) *Server {
	t.Helper()
	opts.Logger = slog.New(slog.DiscardHandler)
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return s
}

// request returns the status, header and body of an answer.
func request(t *testing.T, method, url string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(body)
}

// golden compares got with the file of that name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s; got:\n%s", path, got)
	}
}

const anyPort = "127.0.0.1:0"

func TestListensWhereItIsTold(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "planted", Help: "Planted."}, func() float64 { return 42 }))
	s := start(t, Options{API: anyPort, Metrics: anyPort, Pprof: anyPort, Registry: registry})

	f := func(address, path string, status int, contains string) {
		t.Helper()
		got, _, body := request(t, http.MethodGet, "http://"+address+path)
		if got != status || !strings.Contains(body, contains) {
			t.Errorf("GET %s: %d %q, want %d and a body with %q", path, got, body, status, contains)
		}
	}
	f(s.APIAddr(), "/health", 200, `"healthy"`)
	f(s.APIAddr(), "/ready", 200, `"ready": true`)
	f(s.APIAddr(), "/api/v1/status", 200, `"pid": `+fmt.Sprint(os.Getpid()))
	f(s.APIAddr(), "/api/v1/containers", 200, `[]`)
	f(s.APIAddr(), "/", 200, "<!doctype html>")
	f(s.MetricsAddr(), "/metrics", 200, "\nplanted 42\n")
	f(s.PprofAddr(), "/debug/pprof/", 200, "goroutine")
	f(s.PprofAddr(), "/debug/pprof/heap?debug=1", 200, "heap profile")
	f(s.PprofAddr(), "/debug/pprof/symbol", 200, "num_symbols")
	f(s.PprofAddr(), "/debug/pprof/trace?seconds=0.01", 200, "trace")
	f(s.PprofAddr(), "/debug/pprof/cmdline", 200, os.Args[0])

	// Each listener serves its own and nothing else.
	f(s.APIAddr(), "/metrics", 404, `"error"`)
	f(s.APIAddr(), "/debug/pprof/", 404, `"error"`)
	f(s.APIAddr(), "/health/", 404, `"nothing is served at /health/"`)
	f(s.MetricsAddr(), "/health", 404, `"error"`)
	f(s.MetricsAddr(), "/debug/pprof/", 404, `"error"`)
	f(s.PprofAddr(), "/metrics", 404, `"error"`)
}

func TestEachListenerMayBeOff(t *testing.T) {
	f := func(opts Options, api, metrics, pprof bool) {
		t.Helper()
		s := start(t, opts)
		for _, c := range []struct {
			address string
			on      bool
		}{{s.APIAddr(), api}, {s.MetricsAddr(), metrics}, {s.PprofAddr(), pprof}} {
			if (c.address != "") != c.on {
				t.Errorf("%+v: address %q, want on: %t", opts, c.address, c.on)
			}
		}
	}
	f(Options{}, false, false, false)
	f(Options{API: anyPort}, true, false, false)
	f(Options{Metrics: anyPort, Registry: prometheus.NewRegistry()}, false, true, false)
	f(Options{Pprof: anyPort}, false, false, true)
}

func TestListenErrors(t *testing.T) {
	taken, err := net.Listen("tcp", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()

	f := func(opts Options, want string, is error) {
		t.Helper()
		opts.Logger = slog.New(slog.DiscardHandler)
		s, err := New(opts)
		if s != nil || err == nil || !strings.Contains(err.Error(), want) || is != nil && !errors.Is(err, is) {
			t.Errorf("New(%+v): %v, want %q", opts, err, want)
		}
	}
	f(Options{Metrics: address, Registry: prometheus.NewRegistry()},
		"listen on "+address+" for metrics: address already in use: another agent may be running; set metrics.listen", syscall.EADDRINUSE)
	f(Options{API: address},
		"listen on "+address+" for api: address already in use: another agent may be running; set server.listen", syscall.EADDRINUSE)
	f(Options{Pprof: "127.0.0.1:70000"}, "listen on 127.0.0.1:70000 for pprof: listen tcp: address 70000: invalid port; set pprof.listen", nil)
	f(Options{Metrics: anyPort}, "serve metrics: no registry", nil)
}

// When one address is taken, those bound before it are free again.
func TestNewUnbindsOnError(t *testing.T) {
	probe, err := net.Listen("tcp", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	free := probe.Addr().String()
	probe.Close()
	taken, err := net.Listen("tcp", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if _, err := New(Options{API: free, Pprof: taken.Addr().String(), Logger: slog.New(slog.DiscardHandler)}); err == nil {
		t.Fatal("New bound an address that was taken")
	}
	again, err := net.Listen("tcp", free)
	if err != nil {
		t.Fatalf("the API's address is still bound: %v", err)
	}
	again.Close()
}

func TestCloseUnbindsWhatIsNotRun(t *testing.T) {
	s, err := New(Options{API: anyPort, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	again, err := net.Listen("tcp", s.APIAddr())
	if err != nil {
		t.Fatalf("still bound after Close: %v", err)
	}
	again.Close()
}

func TestOnlyGetAndHead(t *testing.T) {
	s := start(t, Options{API: anyPort, Metrics: anyPort, Registry: prometheus.NewRegistry()})
	for _, url := range []string{
		"http://" + s.APIAddr() + "/", "http://" + s.APIAddr() + "/health", "http://" + s.APIAddr() + "/api/v1/status",
		"http://" + s.MetricsAddr() + "/metrics",
	} {
		for _, method := range []string{http.MethodPost, http.MethodDelete, http.MethodOptions} {
			status, header, body := request(t, method, url)
			if status != http.StatusMethodNotAllowed || header.Get("Allow") != "GET, HEAD" || !strings.Contains(body, `"error"`) {
				t.Errorf("%s %s: %d, Allow %q, %q", method, url, status, header.Get("Allow"), body)
			}
		}
		if status, _, body := request(t, http.MethodHead, url); status != http.StatusOK || body != "" {
			t.Errorf("HEAD %s: %d %q, want 200 and no body", url, status, body)
		}
	}
}

// A request that is being served when the server ends gets its answer.
func TestRunEndsRequestsInOrder(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s, cancel, done := startBlocking(t, entered, leave)
	answered := make(chan string, 1)
	go func() {
		_, _, body := request(t, http.MethodGet, "http://"+s.APIAddr()+"/api/v1/containers")
		answered <- body
	}()
	<-entered
	cancel()
	select {
	case err := <-done:
		t.Fatalf("Run returned %v while a handler was running", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(leave)
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if body := <-answered; body != "[]\n" {
		t.Errorf("answer %q, want []", body)
	}
	http.DefaultClient.CloseIdleConnections()
}

// startBlocking serves an API whose containers are answered after leave is
// closed. The second time on, they are answered at once.
func startBlocking(t *testing.T, entered, leave chan struct{}) (*Server, context.CancelFunc, chan error) {
	t.Helper()
	var calls atomic.Int32
	s, err := New(Options{API: anyPort, Logger: slog.New(slog.DiscardHandler), Containers: func() []Container {
		if calls.Add(1) == 1 {
			close(entered)
			<-leave
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return s, cancel, done
}

// A handler that outlives the grace is cut off from its client, and still
// waited for.
func TestRunWaitsForHandlersBeyondTheGrace(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s, cancel, done := startBlocking(t, entered, leave)
	conn, err := net.Dial("tcp", s.APIAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /api/v1/containers HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-entered
	cancel()
	begin := time.Now()
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes, want the connection closed", n)
	}
	if took := time.Since(begin); took < shutdownGrace/2 || took > 5*shutdownGrace {
		t.Errorf("the connection was cut after %v, want about %v", took, shutdownGrace)
	}
	select {
	case err := <-done:
		t.Fatalf("Run returned %v while a handler was running", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(leave)
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// Clients that keep connections open, before or between requests, do not hold
// up the end for longer than the grace.
func TestRunEndsIdleConnections(t *testing.T) {
	s, err := New(Options{API: anyPort, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for _, sent := range []string{"", "GET /health HT", "GET /ready HTTP/1.1\r\nHost: x\r\n\r\n"} {
		conn, err := net.Dial("tcp", s.APIAddr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, sent); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(sent, "\n") {
			if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "HTTP/1.1 200 OK\r\n" {
				t.Fatalf("%q, %v", line, err)
			}
		}
	}
	begin := time.Now()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(begin); took > 5*shutdownGrace {
		t.Errorf("Run took %v to end, the grace is %v", took, shutdownGrace)
	}
}

// A profile that would take a minute ends with the server.
func TestRunCutsProfilesShort(t *testing.T) {
	s, err := New(Options{Pprof: anyPort, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	conn, err := net.Dial("tcp", s.PprofAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /debug/pprof/trace?seconds=60 HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		t.Fatal(err) // the trace has begun to be written
	}
	begin := time.Now()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(begin); took > shutdownGrace {
		t.Errorf("Run took %v to end: it waited for the profile", took)
	}
}

func TestRunReturnsWhenAListenerBreaks(t *testing.T) {
	s, err := New(Options{API: anyPort, Pprof: anyPort, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.endpoints[0].listener.Close()
	if err := s.Run(t.Context()); !errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), "serve api on 127.0.0.1:") {
		t.Errorf("Run: %v, want the broken listener", err)
	}
}
