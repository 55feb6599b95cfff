package httpclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mustNew returns a client that is closed at the end of the test.
func mustNew(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func serve(t *testing.T, h http.HandlerFunc) *url.URL {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return parse(t, s.URL)
}

func parse(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestPostSendsWhatItWasGiven(t *testing.T) {
	var got *http.Request
	var body []byte
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("X-Answer", "yes")
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "thank\nyou")
	})
	c := mustNew(t, Options{
		BasicAuth: &BasicAuth{Username: "agent", Password: "secret"},
		Headers:   map[string]string{"x-key": "abcdef", "Host": "logs.example"},
		UserAgent: "log_capturer/test",
	})
	res, err := c.Post(t.Context(), parse(t, u.String()+"/push"), http.Header{"Content-Type": {"text/plain"}}, []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	if res.Status != 202 || res.Header.Get("X-Answer") != "yes" || string(res.Body) != "thank\nyou" || res.Message != "thank you" {
		t.Errorf("answer %+v", res)
	}
	user, password, _ := got.BasicAuth()
	if got.Method != "POST" || got.URL.Path != "/push" || string(body) != "hello" || got.ContentLength != 5 ||
		got.Host != "logs.example" || user != "agent" || password != "secret" ||
		got.Header.Get("X-Key") != "abcdef" || got.Header.Get("User-Agent") != "log_capturer/test" ||
		got.Header.Get("Content-Type") != "text/plain" {
		t.Errorf("request %+v with body %q", got, body)
	}
}

func TestNewRefuses(t *testing.T) {
	f := func(o Options, want string) {
		t.Helper()
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New: %v, want %q in it", err, want)
		}
	}
	basic := &BasicAuth{Username: "u", Password: "p"}
	f(Options{BasicAuth: basic, BearerToken: "t"}, "both basic_auth and a bearer token")
	f(Options{BasicAuth: &BasicAuth{Password: "p"}}, "no username")
	f(Options{BasicAuth: &BasicAuth{Username: "a:b"}}, "holds a ':'")
	f(Options{BasicAuth: &BasicAuth{Username: "u", Password: "p", PasswordFile: "f"}}, "both set")
	f(Options{BearerToken: "t", BearerTokenFile: "f"}, "both set")
	f(Options{BearerTokenFile: "/nonexistent/token"}, "no such file")
	f(Options{BearerToken: "a\nb"}, "no header can carry")
	f(Options{Headers: map[string]string{"a b": "c"}}, "not a valid name")
	f(Options{Headers: map[string]string{"a": "b\r\nc: d"}}, "no header can carry")
	f(Options{Headers: map[string]string{"content-length": "1"}}, "set by the sink itself")
	f(Options{BasicAuth: basic, Headers: map[string]string{"authorization": "x"}}, "contradicts basic_auth")
	f(Options{TLS: TLS{CAFile: "/nonexistent/ca"}}, "no such file")
	f(Options{TLS: TLS{CertFile: "/nonexistent/cert"}}, "needs both cert_file and key_file")
	f(Options{Timeout: -1}, "negative")
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	var elsewhere atomic.Int32
	other := serve(t, func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) })
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.String(), http.StatusTemporaryRedirect)
	})
	res, err := mustNew(t, Options{BearerToken: "token"}).Post(t.Context(), u, nil, []byte("x"))
	if err != nil || res.Status != 307 || elsewhere.Load() != 0 {
		t.Errorf("answer %+v, %v, and %d requests elsewhere", res, err, elsewhere.Load())
	}
}

func TestAnswersAreBounded(t *testing.T) {
	f := func(size, wantBody int, wantTruncated bool) {
		t.Helper()
		u := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(bytes.Repeat([]byte("x"), size))
		})
		res, err := mustNew(t, Options{}).Post(t.Context(), u, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Body) != wantBody || res.Truncated != wantTruncated || len(res.Message) > maxMessageBytes+len("…") {
			t.Errorf("an answer of %d bytes: %d kept, truncated %t, message of %d", size, len(res.Body), res.Truncated, len(res.Message))
		}
	}
	f(0, 0, false)
	f(MaxResponseBytes, MaxResponseBytes, false)
	f(MaxResponseBytes+1, MaxResponseBytes, true)
	f(2<<20, MaxResponseBytes, true)
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	var conns atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write(make([]byte, MaxResponseBytes+1000))
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	c := mustNew(t, Options{})
	for range 50 {
		if _, err := c.Post(t.Context(), parse(t, s.URL), nil, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	// A connection is free again a moment after its answer was read, which a
	// busy machine may notice too late for the next request.
	if n := conns.Load(); n > 10 {
		t.Errorf("%d connections for 50 requests one after the other", n)
	}
}

func TestTimeoutSaysSo(t *testing.T) {
	release := make(chan struct{})
	u := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-release:
		}
	})
	defer close(release)
	u.RawQuery = "key=secret"
	_, err := mustNew(t, Options{Timeout: 20 * time.Millisecond}).Post(t.Context(), u, nil, nil)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(fmt.Sprint(err), "no answer within the timeout of 20ms") {
		t.Errorf("error %v", err)
	}
	if strings.Contains(fmt.Sprint(err), "secret") {
		t.Errorf("error %v shows the query", err)
	}
	// The caller's own end is told apart.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = mustNew(t, Options{Timeout: time.Minute}).Post(ctx, u, nil, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want one of context.Canceled", err)
	}
}

// The destination answers before it has read the body. The buffer is the
// caller's again once Post has returned, and overwriting it must neither race
// with the connection (the race detector looks) nor change what is sent.
func TestBufferIsFreeAfterPost(t *testing.T) {
	bad := make(chan int, 20)
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "0") // The answer is complete at once.
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		_ = http.NewResponseController(w).EnableFullDuplex()
		_ = http.NewResponseController(w).Flush()
		rest, _ := io.ReadAll(io.LimitReader(r.Body, 64<<20))
		if i := bytes.IndexByte(rest, 'b'); i >= 0 {
			bad <- i
		}
	})
	c := mustNew(t, Options{})
	before, after := bytes.Repeat([]byte("a"), 8<<20), bytes.Repeat([]byte("b"), 8<<20)
	buf := make([]byte, len(before))
	for range 5 {
		copy(buf, before)
		// A connection that was broken off is an error; all else is a 413.
		res, err := c.Post(t.Context(), u, nil, buf)
		if err == nil && res.Status != http.StatusRequestEntityTooLarge {
			t.Errorf("answer %+v", res)
		}
		copy(buf, after)
	}
	select {
	case i := <-bad:
		t.Errorf("byte %d was taken from the buffer after Post had returned", i)
	default:
	}
}

// What is small goes out in one write, header and body: two are two packets, each of
// which wakes the destination.
func TestSmallBodiesAreOneWrite(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	body := bytes.Repeat([]byte("x"), smallBytes)
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			conn, err := l.Accept()
			if err != nil {
				return err
			}
			defer conn.Close()
			buf := make([]byte, 2*smallBytes)
			for range 20 {
				n, err := conn.Read(buf)
				if err != nil {
					return err
				}
				if !bytes.HasSuffix(buf[:n], body) {
					return fmt.Errorf("the first %d bytes that came are not all of the request", n)
				}
				if _, err := io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n"); err != nil {
					return err
				}
			}
			return nil
		}()
	}()
	c := mustNew(t, Options{})
	for range 20 {
		if _, err := c.Post(t.Context(), parse(t, "http://"+l.Addr().String()), nil, body); err != nil {
			t.Error(err)
			break
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A kept connection that the destination has closed meanwhile costs at most the
// one attempt that finds it so.
func TestDeadConnectionIsReplaced(t *testing.T) {
	var bodies atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if b, _ := io.ReadAll(r.Body); string(b) == "whole body" {
			bodies.Add(1)
		}
	}))
	defer s.Close()
	c := mustNew(t, Options{})
	post := func() error {
		_, err := c.Post(t.Context(), parse(t, s.URL), nil, []byte("whole body"))
		return err
	}
	for range 10 {
		if post() != nil {
			if err := post(); err != nil {
				t.Fatal(err)
			}
		}
		s.CloseClientConnections()
	}
	if bodies.Load() != 10 {
		t.Errorf("%d whole bodies arrived of 10", bodies.Load())
	}
}

func TestCloseClosesIdleConnections(t *testing.T) {
	var open atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}
	s.Start()
	defer s.Close()
	c := mustNew(t, Options{})
	if _, err := c.Post(t.Context(), parse(t, s.URL), nil, nil); err != nil {
		t.Fatal(err)
	}
	if open.Load() != 1 {
		t.Fatalf("%d connections are kept, want 1", open.Load())
	}
	c.Close()
	eventually(t, "the connection is closed", func() bool { return open.Load() == 0 })
	// Nor does a late request leave one behind.
	if _, err := c.Post(t.Context(), parse(t, s.URL), nil, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the late connection is closed", func() bool { return open.Load() == 0 })
}
