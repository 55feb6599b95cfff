package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"log_capturer/internal/lifetime"
)

// shutdownGrace is how long requests may go on after the server was told to
// end.
const shutdownGrace = 2 * time.Second

// connectionGrace is how long a handler may go on after its connection was
// closed. What it asks of the components is answered at once.
const connectionGrace = 20 * time.Second

// endpoint is one listener and what it serves.
type endpoint struct {
	purpose string // what it is for
	address string // as configured
	setting string // the key of the config that sets address
	handler http.Handler
	logger  *slog.Logger
	// readTimeout bounds the reading of a request. As net/http lets it cut the
	// handler short too, it is zero, no bound, where that may take long.
	readTimeout time.Duration
	// grace is connectionGrace when zero; tests shorten it.
	grace time.Duration

	listener    net.Listener
	connections lifetime.Tally
}

// run serves until ctx ends or the listener breaks. It returns when the last
// connection's goroutine has ended.
func (e *endpoint) run(ctx context.Context) error {
	g := lifetime.NewGroup(ctx)
	server := &http.Server{
		Handler:           e.handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       e.readTimeout,
		WriteTimeout:      30 * time.Second, // profiles extend it by what they take
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(e.logger.Handler(), slog.LevelWarn),
		// Requests end with the server.
		BaseContext: func(net.Listener) context.Context { return g.Context() },
		ConnState:   e.count,
	}
	g.Go(component, func(context.Context) error {
		if err := server.Serve(e.listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve %s on %s: %w", e.purpose, e.listener.Addr(), err)
		}
		return nil
	})
	<-g.Context().Done() // told to end, or Serve gave up
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		// The grace is over, or closing the listener went wrong, of which
		// nothing is left to save.
		e.logger.WarnContext(ctx, "connections cut at shutdown", "endpoint", e.purpose, "error", err)
		_ = server.Close()
	}
	err := g.Wait()
	if grace := cmp.Or(e.grace, connectionGrace); !e.connections.Wait(grace) {
		lifetime.Given(ctx, component, "end its connections", "net/http.(*conn).serve", grace)
	}
	return err
}

// count keeps track of the connections' goroutines, which net/http does not
// wait for. A connection gets exactly one StateNew, before its goroutine starts,
// and one StateClosed, at its end; none is hijacked here.
func (e *endpoint) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		e.connections.Add()
	case http.StateClosed:
		e.connections.Done()
	}
}
