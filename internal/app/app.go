// Package app is the wiring: what is made, in what order it is started, and in
// what order it is stopped. It is the only package that knows all others, and
// holds no logic of its own.
//
// Records flow from the monitor through the dispatcher to the deliveries, and
// custody flows back into the positions. Stopping follows the records: first
// the monitor, so that nothing new comes; then the deliveries, which drain for
// as long as the configuration allows; then the positions, which are written to
// disk a last time; and last the endpoints, which tell the truth to the end.
package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"log_capturer/internal/config"
	"log_capturer/internal/cursors"
	"log_capturer/internal/deadletter"
	"log_capturer/internal/delivery"
	"log_capturer/internal/dispatcher"
	"log_capturer/internal/health"
	"log_capturer/internal/lifetime"
	"log_capturer/internal/livetail"
	"log_capturer/internal/pipeline"
	"log_capturer/internal/positions"
	"log_capturer/internal/reload"
	"log_capturer/internal/selfwatch"
	"log_capturer/internal/server"
	"log_capturer/internal/vfs"
)

// app holds the parts of a running agent that stay the same.
type app struct {
	parts       atomic.Pointer[parts]
	reloads     *reload.Reloads
	stdout      io.Writer
	logger      *slog.Logger
	host        string
	started     time.Time
	journal     *positions.Journal
	deadLetters *deadletter.Store
	replayer    *deadletter.Replayer
	door        *dispatcher.Dispatcher
	dispatcher  *dispatcher.Processor
	tail        *livetail.Hub
	registry    *prometheus.Registry
	server      *server.Server
	watcher     *selfwatch.Watcher
	overdue     *lifetime.Watch
	recent      *selfwatch.Recent
	thrift      *thrift // nil for none
	running     groups
}

// Run runs the agent until ctx is done, or until it can't go on.
func Run(ctx context.Context, cfg *config.Config, reloads *reload.Reloads, stdout io.Writer, logger *slog.Logger) error {
	a := newApp(cfg, reloads, stdout, logger)
	a.thrift = newThrift()
	defer a.close()
	if err := a.make(); err != nil {
		return err
	}
	a.greet(a.greeted(stdout))
	return a.run(lifetime.WithWatch(ctx, a.overdue))
}

func newApp(cfg *config.Config, reloads *reload.Reloads, stdout io.Writer, logger *slog.Logger) *app {
	recent := &selfwatch.Recent{}
	logger = recent.Keep(logger)
	a := &app{
		reloads: reloads, stdout: stdout, logger: logger, started: time.Now(), recent: recent, overdue: lifetime.NewWatch(logger),
		tail: livetail.New(), registry: prometheus.NewRegistry(),
	}
	a.parts.Store(&parts{config: cfg})
	return a
}

// make makes all parts, and starts none.
func (a *app) make() error {
	p := a.now()
	cfg := p.config
	var err error
	if a.host = cfg.Host; a.host == "" {
		if a.host, err = os.Hostname(); err != nil {
			return fmt.Errorf("find out the host's name (or set host in the configuration): %w", err)
		}
	}
	if cfg.MemoryLimit > 0 && os.Getenv("GOMEMLIMIT") == "" {
		// The windows keep to it by themselves; this makes the collector work
		// harder before it is reached for another reason.
		debug.SetMemoryLimit(int64(cfg.MemoryLimit) / 10 * 9)
	}
	if err = vfs.MakeDir(vfs.OS{}, cfg.DataDir, 0o750); err != nil {
		return fmt.Errorf("make data_dir: %w", err)
	}
	if a.journal, err = positions.Open(filepath.Join(cfg.DataDir, "positions"), positions.Options{Logger: a.logger}); err != nil {
		return err
	}
	if a.deadLetters, err = deadletter.OpenStore(filepath.Join(cfg.DataDir, DeadLettersDir), deadletter.Options{
		MaxBytes: int64(cfg.DeadLetters.MaxBytes), MaxAge: time.Duration(cfg.DeadLetters.MaxAge), Logger: a.logger,
	}); err != nil {
		return err
	}
	for _, c := range cfg.Sinks {
		s, err := a.makeSink(cfg, c)
		if err != nil {
			return fmt.Errorf("make sink %q: %w", c.Name, err)
		}
		p.sinks = append(p.sinks, s)
	}
	a.warnOfSpools(p)
	p.pipelines = pipeline.NewMetrics()
	if p.table, err = cfg.CompilePipelines(p.pipelines); err != nil {
		return err
	}
	a.door = dispatcher.New(p.deliveries())
	a.door.LimitSources(rate(cfg.Dispatcher.SourceRateLimit))
	a.dispatcher = dispatcher.NewProcessor(a.door, p.table, a.logger)
	a.dispatcher.ShowTo(a.tail.At(livetail.Processed))
	a.replayer, err = deadletter.NewReplayer(a.deadLetters, a.journal, delivery.CursorPrefix, p.targets(), a.logger)
	if err != nil {
		return err
	}
	for _, m := range monitors {
		if err := m.make(a, p, time.Time{}); err != nil {
			return err
		}
	}
	return a.makeServer()
}

// knownSources returns the keys of all sources that have positions.
func (a *app) knownSources() []string {
	var keys []string
	for key := range a.journal.All(delivery.CursorPrefix) {
		_, source, ok := strings.Cut(strings.TrimPrefix(key, delivery.CursorPrefix), "/")
		if ok && !strings.HasPrefix(source, deadletter.SourcePrefix) {
			keys = append(keys, source)
		}
	}
	return keys
}

func (a *app) makeServer() error {
	cfg := a.now().config
	a.makeWatcher()
	a.registry.MustRegister(a.door, a.watcher, a.journal, a.deadLetters, a.reloads, collector{a})
	listen := func(l config.Listener) string {
		if !l.Enabled {
			return ""
		}
		return l.Listen
	}
	var err error
	a.server, err = server.New(server.Options{
		API: listen(cfg.Server), Metrics: listen(cfg.Metrics), Pprof: listen(cfg.Pprof),
		Registry: a.registry, Reporters: []health.Reporter{a}, Ready: a.ready,
		Status: a.status, Containers: a.containers, Files: a.listFiles, Tail: a.tail, DeadLetters: letters{a}, Logger: a.logger,
		Leaks: func() any { return a.watcher.Leaks() }, SupportBundle: a.supportBundle, Reload: a.reload,
		Positions: func() (cursors.Export, error) { return cursors.Take(a.journal) },
	})
	return err
}

// run starts the parts, waits, and stops them in the order of the records.
func (a *app) run(ctx context.Context) error {
	endpoints := lifetime.NewGroup(context.WithoutCancel(ctx))
	endpoints.Go("server", a.server.Run)
	endpoints.Go("selfwatch", a.watcher.Run)
	if a.thrift != nil {
		endpoints.Go("memory", a.thrift.Run)
	}
	keeping := lifetime.NewGroup(context.WithoutCancel(ctx))
	keeping.Go("positions", a.journal.Run)
	keeping.Go("dead_letters", a.deadLetters.Run)
	sinks := lifetime.NewGroup(context.WithoutCancel(ctx))
	sources := lifetime.NewGroup(ctx)
	a.running = groups{sinks: sinks, sources: sources}
	for _, s := range a.now().sinks {
		a.startSink(s)
	}
	sources.Go("dead_letters", a.replayer.Run)
	a.startSources(a.now())
	reloading := lifetime.NewGroup(ctx)
	reloading.Go("reload", func(ctx context.Context) error { return a.reloads.Run(ctx, a.apply) })

	var err error
	select {
	case <-ctx.Done():
	case <-reloading.Context().Done():
	case <-sources.Context().Done():
	case <-sinks.Context().Done():
	case <-keeping.Context().Done():
	case <-endpoints.Context().Done():
	}
	a.logger.Info("stopping", "shutdown_timeout", a.now().shutdownTimeout())
	keep := func(e error) {
		if err == nil {
			err = e
		}
	}
	reloading.Cancel()
	keep(reloading.Wait())
	sources.Cancel()
	keep(sources.Wait())
	a.drain(sinks)
	keep(sinks.Wait())
	keeping.Cancel()
	keep(keeping.Wait())
	endpoints.Cancel()
	keep(endpoints.Wait())
	a.logger.Info("stopped")
	return err
}

// drain lets the sinks deliver what they accepted, for a bounded time. What is
// left then stays in the custody of the sources.
func (a *app) drain(sinks *lifetime.Group) {
	p := a.now()
	for _, s := range p.sinks {
		s.delivery.CloseInput()
	}
	timer := time.AfterFunc(p.shutdownTimeout(), func() {
		a.logger.Warn("shutdown_timeout", "undelivered", p.undelivered(),
			"hint", "they are read again after the next start")
		sinks.Cancel()
	})
	_ = sinks.Wait() // its error is asked for again by the caller
	timer.Stop()
}

// close releases what make has made.
func (a *app) close() {
	p := a.now()
	for _, s := range p.sinks {
		s.close()
	}
	if p.engine != nil {
		_ = p.engine.Close() // only idle connections are left
	}
	if a.deadLetters != nil {
		a.closed("dead_letters", a.deadLetters.Close())
	}
	if a.journal != nil {
		a.closed("positions", a.journal.Close())
	}
}

// closed logs the error with which something was closed.
func (a *app) closed(what string, err error) {
	if err != nil {
		a.logger.Error("close_failed", "what", what, "error", err)
	}
}
