// Package fakeengine is a scripted Docker Engine for what a real one cannot be
// made to do: many lines at one nanosecond, clocks that step back, lost events,
// streams that stall or break off.
//
// It owns a unix socket and speaks on it the part of the Engine API (1.41 and
// later) that a reader of logs uses: _ping, version, info, the list of
// containers, inspect, events and logs. It follows the API's public reference
// and what a real engine was seen to answer; a suite in this package's tests
// holds both to the same expectations. It is strict: a path, method or
// parameter that the API does not have, or that this package does not know,
// fails the test.
//
// Tests script containers and their logs entry by entry, and set faults. All
// methods may be called from any goroutine.
package fakeengine

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// Endpoint names a part of the API, for counting and for faults.
type Endpoint string

// The endpoints that the engine serves.
const (
	Ping    Endpoint = "ping"
	Version Endpoint = "version"
	Info    Endpoint = "info"
	List    Endpoint = "list"
	Inspect Endpoint = "inspect"
	Events  Endpoint = "events"
	Logs    Endpoint = "logs"
)

// Options choose what kind of engine it is.
type Options struct {
	// APIVersion is the highest version served, "1.41" when empty.
	APIVersion string
	// SinceOnce makes a log stream's since filter end with its first match, as
	// newer engines do. Otherwise it holds for the whole stream, follow
	// included, as in engine 20.10.
	SinceOnce bool
	// DataRoot, where it is set, is the directory in which the engine keeps the
	// logs of containers with the json-file driver as files too.
	DataRoot string
}

// Engine is a scripted engine.
type Engine struct {
	t       testing.TB
	options Options
	dir     string

	// handlers counts the requests being served. It grows under mu while
	// server is set, so that Down can wait for it.
	handlers sync.WaitGroup

	mu         sync.Mutex
	server     *http.Server
	served     chan struct{}
	containers []*Container
	made       int

	requests map[Endpoint]int
	delays   map[Endpoint]time.Duration
	failures map[Endpoint][]failure

	history    []event
	listeners  map[*listener]bool
	loseEvents bool

	streams, maxStreams, streamsOpened int
}

// New returns an engine that is up, without containers. It ends with the test.
func New(t testing.TB, o Options) *Engine {
	t.Helper()
	o.APIVersion = cmp.Or(o.APIVersion, "1.41")
	// A socket's path may have 107 bytes: t.TempDir is too deep for that.
	dir, err := os.MkdirTemp("", "fe")
	if err != nil {
		t.Fatal(err)
	}
	e := &Engine{
		t: t, options: o, dir: dir,
		requests:  map[Endpoint]int{},
		delays:    map[Endpoint]time.Duration{},
		failures:  map[Endpoint][]failure{},
		listeners: map[*listener]bool{},
	}
	e.Up()
	t.Cleanup(func() {
		e.Down()
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, c := range e.containers {
			c.closeFile()
		}
		os.RemoveAll(dir)
	})
	return e
}

// Host returns the engine's address, as in DOCKER_HOST.
func (e *Engine) Host() string { return "unix://" + e.socket() }

func (e *Engine) socket() string { return filepath.Join(e.dir, "s") }

// Up makes the engine available again after Down. Its containers and their logs
// are what they were.
func (e *Engine) Up() {
	e.t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.server != nil {
		return
	}
	l, err := net.Listen("unix", e.socket())
	if err != nil {
		e.t.Errorf("bring scripted engine up: %v", err)
		return
	}
	e.server = &http.Server{Handler: http.HandlerFunc(e.serve)}
	e.served = make(chan struct{})
	go func(server *http.Server, done chan struct{}) {
		defer close(done)
		server.Serve(l)
	}(e.server, e.served)
}

// Down closes the socket and breaks every connection, as the death of an engine
// does. It returns when nothing is being served any more.
func (e *Engine) Down() {
	e.mu.Lock()
	server, served := e.server, e.served
	e.server = nil
	e.mu.Unlock()
	if server == nil {
		return
	}
	server.Close()
	<-served
	e.handlers.Wait()
}

// Requests returns how many requests each endpoint has had.
func (e *Engine) Requests() map[Endpoint]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.requests)
}

// Counts are the numbers of follow streams of an engine or a container.
type Counts struct {
	// Open are the streams open now, Max the most that were open at once, and
	// Opened all that ever were.
	Open, Max, Opened int
}

// Streams returns the counts of follow streams of all containers. A stream that
// its client has left counts until the engine has noticed, which takes it
// moments.
func (e *Engine) Streams() Counts {
	e.mu.Lock()
	defer e.mu.Unlock()
	return Counts{Open: e.streams, Max: e.maxStreams, Opened: e.streamsOpened}
}

// EventStreams returns how many streams of events are open.
func (e *Engine) EventStreams() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.listeners)
}

// failure is an answer that a test has set for an endpoint.
type failure struct {
	status  int
	message string
}

// FailNext makes the next n requests of an endpoint answer with an error. They
// are counted as requests.
func (e *Engine) FailNext(endpoint Endpoint, n, status int, message string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failures[endpoint] = append(e.failures[endpoint], slices.Repeat([]failure{{status, message}}, n)...)
}

// Delay makes every answer of an endpoint wait for d.
func (e *Engine) Delay(endpoint Endpoint, d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.delays[endpoint] = d
}

// admit counts a request and applies the endpoint's delay and failures. It
// reports whether the request goes on.
func (e *Engine) admit(ctx context.Context, endpoint Endpoint, w http.ResponseWriter) bool {
	e.mu.Lock()
	e.requests[endpoint]++
	delay := e.delays[endpoint]
	var fail *failure
	if queue := e.failures[endpoint]; len(queue) > 0 {
		fail, e.failures[endpoint] = &queue[0], queue[1:]
	}
	e.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return false
		}
	}
	if fail != nil {
		writeError(w, fail.status, fail.message)
		return false
	}
	return true
}

// find returns the container with this id, unambiguous start of an id, or name.
// e.mu is held.
func (e *Engine) find(ref string) (*Container, error) {
	var found *Container
	for _, c := range e.containers {
		switch {
		case c.id == ref || c.name == ref:
			return c, nil
		case ref != "" && len(c.id) > len(ref) && c.id[:len(ref)] == ref:
			found = c
		}
	}
	if found == nil {
		return nil, fmt.Errorf("No such container: %s", ref) //nolint:staticcheck // the engine's own words
	}
	return found, nil
}
