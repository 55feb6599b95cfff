// Package lokitest is a Loki for tests: a push endpoint that takes nothing that
// is not exactly right, counts or keeps every entry, and fails on demand in the
// ways in which Loki and the networks before it fail.
//
// It promises that an entry it has counted was read whole and found valid, that
// the entries of one push are seen in their order, and that what it refuses by
// its Limits it refuses with Loki's own rules and texts. Strictness goes beyond
// Loki's: every protocol mistake is answered and also kept in Violations, which
// a test asserts to be empty, since a client that retries would only look slow.
//
// It stores nothing but what Options.Keep asks for, and does no queries.
package lokitest

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Pair is an item of structured metadata.
type Pair struct{ Name, Value string }

// Entry is one entry that was stored.
type Entry struct {
	// Tenant is the push's X-Scope-OrgID.
	Tenant string
	// Labels are the stream's labels in the canonical form, {a="b", c="d"}.
	Labels string
	// Time is the entry's time in nanoseconds since the Unix epoch.
	Time int64
	// Line is the line's bytes.
	Line string
	// Metadata is the structured metadata, in the order sent.
	Metadata []Pair
}

// Options configure a Server.
type Options struct {
	// Addr is the address to listen on, "127.0.0.1:0" when empty.
	Addr string
	// TLS makes the server speak https.
	TLS *tls.Config
	// Keep makes the server keep all entries for Entries.
	Keep bool
	// Deduplicate drops an entry whose tenant, labels, time and line were
	// stored before, as an ingester does within a block, and counts it in
	// Stats.Duplicates.
	Deduplicate bool
	// OnEntry is called for each entry that is stored, one at a time. The line
	// is valid only during the call, and so is meta.
	OnEntry func(labels string, ts int64, line []byte, meta []Pair)
	// Limits are what the server refuses.
	Limits Limits
	// Fault decides what goes wrong with the n-th push, from 0, before its body
	// is read. It is called one at a time.
	Fault func(n int, r *http.Request) (Fault, bool)
}

// Stats count what a Server did.
type Stats struct {
	// Requests are the pushes that began.
	Requests int
	// Pushes are those that were answered 204.
	Pushes int
	// Entries are those that were stored, Duplicates those that were dropped
	// as such, Refused those refused by the Limits.
	Entries, Duplicates, Refused int
	// Empty are the pushes without a stream, which are refused.
	Empty int
	// LineBytes is the sum of the lengths of the lines stored.
	LineBytes int64
}

// Server is a running endpoint.
type Server struct {
	options  Options
	http     *http.Server
	listener net.Listener
	scheme   string
	done     chan struct{} // closed when the server ends
	served   chan struct{} // closed when Serve has returned
	active   sync.RWMutex  // held for reading by each handler

	decoders sync.Pool // of *decoder

	mu         sync.Mutex
	stats      Stats
	entries    []Entry
	seen       map[identity]struct{}
	highest    map[streamKey]int64
	violations []string
	conns      map[net.Conn]struct{}
}

type streamKey struct{ tenant, labels string }

// identity is what an ingester tells entries apart by.
type identity struct {
	stream streamKey
	time   int64
	line   string
}

// Start starts a server. Close ends it.
func Start(o Options) (*Server, error) {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return nil, err
	}
	s := &Server{
		options:  o,
		listener: listener,
		scheme:   "http",
		done:     make(chan struct{}),
		served:   make(chan struct{}),
		seen:     map[identity]struct{}{},
		highest:  map[streamKey]int64{},
		conns:    map[net.Conn]struct{}{},
	}
	s.decoders.New = func() any { return newDecoder() }
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: time.Minute,
		TLSConfig:         o.TLS,
		ConnState:         s.trackConn,
		ErrorLog:          discardLog(),
	}
	serve := func() error { return s.http.Serve(listener) }
	if o.TLS != nil {
		s.scheme = "https"
		serve = func() error { return s.http.ServeTLS(listener, "", "") }
	}
	go func() {
		defer close(s.served)
		_ = serve() // It always ends with an error, ErrServerClosed at best.
	}()
	return s, nil
}

// Close ends the server, its connections and what hangs in it, and returns when
// all have ended.
func (s *Server) Close() {
	close(s.done)
	_ = s.http.Close()
	<-s.served
	// http.Server.Close does not wait for handlers.
	s.active.Lock()
	defer s.active.Unlock()
}

// URL returns the server's base URL.
func (s *Server) URL() string { return s.scheme + "://" + s.listener.Addr().String() }

// Stats returns what was counted so far.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// Entries returns the entries stored so far, in the order of their arrival.
func (s *Server) Entries() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.entries)
}

// Violations returns the protocol mistakes of the clients so far.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

// Connections returns the number of open connections.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *Server) trackConn(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case http.StateNew:
		s.conns[c] = struct{}{}
	case http.StateClosed, http.StateHijacked:
		delete(s.conns, c)
	}
}

// maxViolations bounds what is kept: the first ones tell the most.
const maxViolations = 100

// violation answers and notes a protocol mistake.
func (s *Server) violation(w http.ResponseWriter, status int, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.mu.Lock()
	if len(s.violations) < maxViolations {
		s.violations = append(s.violations, text)
	}
	s.mu.Unlock()
	http.Error(w, text, status)
}
