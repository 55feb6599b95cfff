// Package server shows the agent from outside: its health, its status, its
// metrics and its profiles.
//
// It owns three listeners, each with its own address and each of which may be
// off:
//
//   - the API: /health, /ready, /api/v1/status, /api/v1/containers,
//     /api/v1/files, /api/v1/positions, /api/v1/tail, /api/v1/leaks,
//     /api/v1/support-bundle, /api/v1/config/reload, and a page for people at /
//   - metrics: /metrics
//   - pprof: /debug/pprof/
//
// Every answer is computed from what the components say at the moment of the
// request; the server keeps no state of theirs. It promises that its answers
// say what the functions in Options say, that hostile text in a container's
// name stays text, and that nothing of it is running when Run has returned. It
// shows whatever it is given, and it asks for no password: those who fill the
// answers keep secrets out, and the defaults listen on the loopback interface.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"log_capturer/internal/cursors"
	"log_capturer/internal/health"
	"log_capturer/internal/lifetime"
	"log_capturer/internal/livetail"
)

// Options says what to show, and where.
type Options struct {
	// API, Metrics and Pprof are the addresses to listen on, "host:port". An
	// empty one is off.
	API, Metrics, Pprof string
	// Registry is what /metrics shows. It is required when Metrics is set.
	Registry *prometheus.Registry
	// Reporters report on the health of the components, in the order in which
	// they are shown.
	Reporters []health.Reporter
	// Ready returns nil once the agent has started in full, and else what it
	// waits for. Nil means that it is ready when it serves.
	Ready func() error
	// Status returns the facts about the agent. Nil leaves them out.
	Status func() Status
	// Containers returns what is known of every container. Nil means none.
	Containers func() []Container
	// Leaks returns what the agent occupies and what of it grows, as a value
	// for JSON. Nil serves nothing.
	Leaks func() any
	// SupportBundle writes an archive for a bug report, without secrets. Nil
	// serves nothing.
	SupportBundle func(w io.Writer) error
	// Reload has the configuration reloaded, and waits for what comes of it. Nil
	// serves nothing.
	Reload func(ctx context.Context) (Reload, error)
	// Positions returns how far every sink has come. Nil leaves them out.
	Positions func() (cursors.Export, error)
	// Tail is where those who watch lines get them. Nil means that nobody can.
	Tail *livetail.Hub
	// Files returns what is known of every file. Nil means none.
	Files func() []File
	// DeadLetters are what destinations refused. Nil means that they are not
	// served.
	DeadLetters DeadLetters
	// Logger gets what goes wrong between requests.
	Logger *slog.Logger
}

// Server serves the agent's endpoints. Its methods may be called from several
// goroutines at once, Run once.
type Server struct {
	opts      Options
	endpoints []*endpoint
}

// New binds the listeners, so that their addresses are known and a second agent
// is noticed before any work begins. It serves nothing yet: whoever does not
// come to call Run calls Close.
func New(opts Options) (*Server, error) {
	if opts.Metrics != "" && opts.Registry == nil {
		return nil, errors.New("serve metrics: no registry")
	}
	s := &Server{opts: opts}
	for _, e := range []*endpoint{
		{purpose: apiPurpose, address: opts.API, setting: "server.listen", handler: s.apiHandler(), readTimeout: 10 * time.Second},
		{purpose: metricsPurpose, address: opts.Metrics, setting: "metrics.listen", handler: s.metricsHandler(), readTimeout: 10 * time.Second},
		{purpose: pprofPurpose, address: opts.Pprof, setting: "pprof.listen", handler: pprofHandler()},
	} {
		if e.address == "" {
			continue
		}
		e.logger = opts.Logger
		if err := e.bind(); err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.endpoints = append(s.endpoints, e)
	}
	return s, nil
}

// Close unbinds the listeners of a server that is not run.
func (s *Server) Close() error {
	var errs []error
	for _, e := range s.endpoints {
		if err := e.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, fmt.Errorf("close listener %s: %w", e.listener.Addr(), err))
		}
	}
	return errors.Join(errs...)
}

// APIAddr returns the address that the API listens on, "" when it is off.
func (s *Server) APIAddr() string { return s.addr(apiPurpose) }

// MetricsAddr returns the address that metrics are served on, "" when that is
// off.
func (s *Server) MetricsAddr() string { return s.addr(metricsPurpose) }

// PprofAddr returns the address that profiles are served on, "" when that is
// off.
func (s *Server) PprofAddr() string { return s.addr(pprofPurpose) }

func (s *Server) addr(purpose string) string {
	for _, e := range s.endpoints {
		if e.purpose == purpose {
			return e.listener.Addr().String()
		}
	}
	return ""
}

// Run serves until ctx ends. It returns when every connection is closed and
// every handler has returned: within shutdownGrace and what the slowest
// function in Options takes, or without those that do not return in
// connectionGrace, which are reported as overdue. Requests that are being served get shutdownGrace
// to end; those that watch their context, as profiles do, are cut short at once.
func (s *Server) Run(ctx context.Context) error {
	g := lifetime.NewGroup(ctx)
	for _, e := range s.endpoints {
		g.Go(component, e.run)
	}
	return g.Wait()
}

// component is the server's name in the goroutine profile.
const component = "server"

// The purposes of the listeners, as error messages and /api/v1/status name
// them.
const (
	apiPurpose     = "api"
	metricsPurpose = "metrics"
	pprofPurpose   = "pprof"
)

// bind opens the endpoint's listener.
func (e *endpoint) bind() error {
	listener, err := net.Listen("tcp", e.address) //nolint:noctx // binding is over at once
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen on %s for %s: %w: another agent may be running; set %s",
			e.address, e.purpose, syscall.EADDRINUSE, e.setting)
	case err != nil:
		return fmt.Errorf("listen on %s for %s: %w; set %s", e.address, e.purpose, err, e.setting)
	}
	e.listener = listener
	return nil
}

// metricsHandler serves /metrics.
func (s *Server) metricsHandler() http.Handler {
	mux := http.NewServeMux()
	if s.opts.Registry != nil {
		mux.Handle("/metrics", get(exposition(s.opts.Registry, s.opts.Logger)))
	}
	mux.Handle("/", notFound)
	return mux
}
