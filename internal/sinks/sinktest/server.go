package sinktest

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
)

// Answer is what a destination answers.
type Answer struct {
	Status  int
	Header  map[string]string
	Body    string
	Trailer map[string]string
	// Store are the lines that it stores.
	Store []Line
	// Violation says what was wrong with the request itself. It is kept, and
	// answered 400.
	Violation string
}

// HTTPRequest is one request as a Protocol sees it.
type HTTPRequest struct {
	*http.Request
	// Body is the whole body, decompressed.
	Body []byte
	// Refuse says whether a line is refused for good. It is not nil.
	Refuse func(text string) bool
}

// Protocol is what a Server speaks. Its functions are called one at a time.
type Protocol struct {
	// Serve answers a request that carries records.
	Serve func(r *HTTPRequest) Answer
	// Other answers a request that carries none (a poll, say), and false for one
	// that does. Nil is a protocol without such.
	Other func(r *HTTPRequest) (Answer, bool)
	// Busy and TooLarge turn a request away. A limit in bytes is compared with
	// the body.
	Busy     func(f Fault) Answer
	TooLarge func() Answer
	// Authorized says whether a request carries the token, and Unauthorized
	// turns it away if not.
	Authorized   func(r *http.Request, token string) bool
	Unauthorized func() Answer
	// HTTP2 serves HTTP/2 alone, also without TLS.
	HTTP2 bool
}

// Server is a destination that speaks HTTP. It is a Target.
type Server struct {
	protocol Protocol
	http     *http.Server
	listener net.Listener
	scheme   string
	done     chan struct{}
	served   chan struct{}
	active   sync.RWMutex

	mu         sync.Mutex
	lines      []Line
	violations []string
	conns      map[net.Conn]struct{}
	requests   int
	faulted    int
	fault      func(int) Fault
	refuse     func(string) bool
	limit      int
	token      string
}

// StartServer starts a server. Close ends it.
func StartServer(t testing.TB, p Protocol, config *tls.Config) *Server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		protocol: p, listener: listener, scheme: "http",
		done: make(chan struct{}), served: make(chan struct{}), conns: map[net.Conn]struct{}{},
	}
	var protocols http.Protocols
	protocols.SetHTTP1(!p.HTTP2)
	protocols.SetHTTP2(p.HTTP2)
	protocols.SetUnencryptedHTTP2(p.HTTP2)
	s.http = &http.Server{
		Handler: http.HandlerFunc(s.serve), TLSConfig: config, ConnState: s.track,
		ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0), Protocols: &protocols,
	}
	serve := func() error { return s.http.Serve(listener) }
	if config != nil {
		s.scheme = "https"
		serve = func() error { return s.http.ServeTLS(listener, "", "") }
	}
	go func() {
		defer close(s.served)
		_ = serve() // It always ends with an error, ErrServerClosed at best.
	}()
	return s
}

// Close ends the server and what hangs in it. It may be called again.
func (s *Server) Close() {
	select {
	case <-s.done:
		return
	default:
	}
	close(s.done)
	_ = s.http.Close()
	<-s.served
	s.active.Lock()
	defer s.active.Unlock()
}

// URL returns the server's base URL.
func (s *Server) URL() string { return s.scheme + "://" + s.listener.Addr().String() }

func (s *Server) track(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case http.StateNew:
		s.conns[c] = struct{}{}
	case http.StateClosed, http.StateHijacked:
		delete(s.conns, c)
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.active.RLock()
	defer s.active.RUnlock()
	body, err := readBody(r)
	if err != nil {
		s.mu.Lock()
		if r.Context().Err() == nil {
			s.violations = append(s.violations, err.Error())
		}
		s.mu.Unlock()
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer, fault := s.decide(r, body)
	switch fault.Kind {
	case Hang:
		select {
		case <-s.done:
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	case Lost:
		panic(http.ErrAbortHandler)
	}
	if answer.Status == 0 {
		answer.Status = http.StatusOK
	}
	for name := range answer.Trailer {
		w.Header().Add("Trailer", name)
	}
	for name, value := range answer.Header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(answer.Status)
	_, _ = io.WriteString(w, answer.Body) // The client may be gone.
	for name, value := range answer.Trailer {
		w.Header().Set(name, value)
	}
}

func readBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("read the body: %w", err)
	}
	switch r.Header.Get("Content-Encoding") {
	case "":
		return body, nil
	case "gzip":
		return Gunzip(body)
	}
	return nil, fmt.Errorf("content encoding %q", r.Header.Get("Content-Encoding"))
}

// decide says how a request is answered, and stores what it stores.
func (s *Server) decide(r *http.Request, body []byte) (Answer, Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	req := &HTTPRequest{Request: r, Body: body, Refuse: s.refuse}
	if req.Refuse == nil {
		req.Refuse = func(string) bool { return false }
	}
	if s.token != "" && !s.protocol.Authorized(r, s.token) {
		return s.protocol.Unauthorized(), Fault{}
	}
	if s.protocol.Other != nil {
		if answer, ok := s.protocol.Other(req); ok {
			return s.keep(answer), Fault{}
		}
	}
	s.requests++
	var fault Fault
	if s.fault != nil {
		fault = s.fault(s.faulted)
		s.faulted++
	}
	switch {
	case fault.Kind == Busy:
		return s.protocol.Busy(fault), fault
	case fault.Kind == Hang:
		return Answer{}, fault
	case s.limit > 0 && len(body) > s.limit:
		return s.protocol.TooLarge(), fault
	}
	return s.keep(s.protocol.Serve(req)), fault
}

// keep stores what an answer stores.
func (s *Server) keep(a Answer) Answer {
	if a.Violation != "" {
		if len(s.violations) < 100 {
			s.violations = append(s.violations, a.Violation)
		}
		return Answer{Status: http.StatusBadRequest, Body: a.Violation}
	}
	s.lines = append(s.lines, a.Store...)
	return a
}

// Gunzip decompresses all of body.
func Gunzip(body []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("read gzip: %w", err)
	}
	content, err := io.ReadAll(z)
	if err != nil {
		return nil, fmt.Errorf("read gzip: %w", err)
	}
	return content, nil
}

// Lines implements Target.
func (s *Server) Lines() []Line {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines)
}

// Violations implements Target.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

// Requests implements Target.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// Connections implements Target.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// SetFault implements Target.
func (s *Server) SetFault(fault func(int) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault, s.faulted = fault, 0
}

// SetRefuse implements Target.
func (s *Server) SetRefuse(refuse func(string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = refuse
}

// SetLimit implements Target.
func (s *Server) SetLimit(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = n
}

// SetToken implements Target.
func (s *Server) SetToken(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = token
}
