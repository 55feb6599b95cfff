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
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"log_capturer/internal/config"
	"log_capturer/internal/cursors"
	"log_capturer/internal/deadletter"
	"log_capturer/internal/delivery"
	"log_capturer/internal/dispatcher"
	"log_capturer/internal/glob"
	"log_capturer/internal/health"
	"log_capturer/internal/lifetime"
	"log_capturer/internal/livetail"
	"log_capturer/internal/monitors/container"
	"log_capturer/internal/monitors/file"
	"log_capturer/internal/monitors/kafka"
	"log_capturer/internal/pipeline"
	"log_capturer/internal/positions"
	"log_capturer/internal/selfwatch"
	"log_capturer/internal/server"
	"log_capturer/internal/vfs"
)

// app holds the parts of a running agent.
type app struct {
	config      *config.Config
	stdout      io.Writer
	logger      *slog.Logger
	host        string
	started     time.Time
	journal     *positions.Journal
	deadLetters *deadletter.Store
	replayer    *deadletter.Replayer
	sinks       []*sink
	door        *dispatcher.Dispatcher
	dispatcher  *dispatcher.Processor
	pipelines   *pipeline.Metrics
	tail        *livetail.Hub
	engine      *container.Docker
	monitor     *container.Monitor
	files       *file.Monitor
	kafka       *kafka.Monitor
	registry    *prometheus.Registry
	server      *server.Server
	reporters   []health.Reporter
	watcher     *selfwatch.Watcher
	overdue     *lifetime.Watch
	recent      *selfwatch.Recent
}

// Run runs the agent until ctx is done, or until it can't go on.
func Run(ctx context.Context, cfg *config.Config, stdout io.Writer, logger *slog.Logger) error {
	saveMemory()
	a := newApp(cfg, stdout, logger)
	defer a.close()
	if err := a.make(); err != nil {
		return err
	}
	a.greet(a.greeted(stdout))
	return a.run(lifetime.WithWatch(ctx, a.overdue))
}

func newApp(cfg *config.Config, stdout io.Writer, logger *slog.Logger) *app {
	recent := &selfwatch.Recent{}
	logger = recent.Keep(logger)
	return &app{config: cfg, stdout: stdout, logger: logger, started: time.Now(), recent: recent, overdue: lifetime.NewWatch(logger)}
}

// make makes all parts, and starts none.
func (a *app) make() error {
	cfg := a.config
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
		s, err := a.makeSink(c)
		if err != nil {
			return fmt.Errorf("make sink %q: %w", c.Name, err)
		}
		a.sinks = append(a.sinks, s)
	}
	a.warnOfSpools()
	deliveries := make([]*delivery.Delivery, 0, len(a.sinks))
	targets := make([]deadletter.Target, 0, len(a.sinks))
	for _, s := range a.sinks {
		deliveries = append(deliveries, s.delivery)
		targets = append(targets, s.delivery)
	}
	a.door = dispatcher.New(deliveries)
	a.door.LimitSources(rate(cfg.Dispatcher.SourceRateLimit))
	a.pipelines = pipeline.NewMetrics()
	table, err := cfg.CompilePipelines(a.pipelines)
	if err != nil {
		return err
	}
	a.dispatcher = dispatcher.NewProcessor(a.door, table, a.logger)
	a.tail = livetail.New()
	a.dispatcher.ShowTo(a.tail.At(livetail.Processed))
	a.replayer, err = deadletter.NewReplayer(a.deadLetters, a.journal, delivery.CursorPrefix, targets, a.logger)
	if err != nil {
		return err
	}
	if cfg.ContainerMonitor.Enabled {
		if err := a.makeMonitor(); err != nil {
			return err
		}
	}
	if cfg.FileMonitor.Enabled && len(cfg.FileMonitor.Files) > 0 {
		if err := a.makeFileMonitor(); err != nil {
			return err
		}
	}
	if cfg.KafkaSource.Enabled {
		if err := a.makeKafkaSource(); err != nil {
			return err
		}
	}
	return a.makeServer()
}

func (a *app) makeMonitor() error {
	c := a.config.ContainerMonitor
	var err error
	if a.engine, err = container.NewDocker(c.DockerHost); err != nil {
		return err
	}
	a.monitor = container.New(container.Options{
		Engine: a.engine, Dispatcher: tapped{a.dispatcher, a.tail.At(livetail.Raw)}, Host: a.host,
		Filter: container.Filter{
			Include: container.Selection(c.Include), Exclude: container.Selection(c.Exclude),
			Self: container.SelfID(),
		},
		Transport: container.Transport(c.Transport), DataRoot: c.DataRoot,
		StartAtEnd: c.StartAt == "end", MaxStreams: c.MaxStreams,
		RotationInterval:  time.Duration(c.RotationInterval),
		HeartbeatInterval: time.Duration(c.HeartbeatInterval),
		ReconcileInterval: time.Duration(c.ReconcileInterval),
		MaxLineBytes:      int(c.MaxLineBytes),
		PositionRetention: time.Duration(c.PositionRetention),
		Known:             a.knownSources, Logger: a.logger,
	})
	return nil
}

func (a *app) makeFileMonitor() error {
	c := a.config.FileMonitor
	own, err := filepath.Abs(a.config.DataDir)
	if err != nil {
		return fmt.Errorf("find data_dir: %w", err)
	}
	options := file.Options{
		Dispatcher: tapped{a.dispatcher, a.tail.At(livetail.Raw)}, Host: a.host, Own: own,
		ScanInterval: time.Duration(c.ScanInterval), RotateWait: time.Duration(c.RotateWait),
		MaxOpenFiles: c.MaxOpenFiles, MaxLineBytes: int(c.MaxLineBytes),
		PositionRetention: time.Duration(c.PositionRetention),
		Known:             a.knownSources, Logger: a.logger,
	}
	for _, set := range c.Files {
		age, _ := set.StartAge()
		files := file.Files{
			Labels: set.Labels, StartAtEnd: set.StartAt == config.StartAtEnd, StartAge: age, Format: file.Format(set.Format),
		}
		if files.Include, err = compileAll(set.Include, glob.Compile); err != nil {
			return err
		}
		if files.Exclude, err = compileAll(set.Exclude, glob.CompileExclude); err != nil {
			return err
		}
		options.Files = append(options.Files, files)
	}
	a.files = file.New(options)
	return nil
}

// compileAll compiles patterns, which the configuration has checked.
func compileAll(texts []string, compile func(string) (*glob.Pattern, error)) ([]*glob.Pattern, error) {
	var patterns []*glob.Pattern
	for _, text := range texts {
		p, err := compile(text)
		if err != nil {
			return nil, err
		}
		patterns = append(patterns, p)
	}
	return patterns, nil
}

func (a *app) makeKafkaSource() error {
	var err error
	a.kafka, err = kafka.New(a.kafkaOptions())
	if err != nil {
		return fmt.Errorf("make kafka_source: %w", err)
	}
	return nil
}

func (a *app) kafkaOptions() kafka.Options {
	c := a.config.KafkaSource
	return kafka.Options{
		Client: kafkaClient(c.Brokers, c.Login), Topics: c.Topics, Group: c.Group,
		StartAtEnd:     c.StartAt == config.StartAtEnd,
		Messages:       kafka.Messages{Text: c.Format == "text", Time: c.TimeField, Line: c.LineField},
		CommitInterval: time.Duration(c.CommitInterval), CustodyWait: time.Duration(c.CustodyWait),
		Dispatcher: tapped{a.dispatcher, a.tail.At(livetail.Raw)}, Logger: a.logger,
	}
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
	cfg := a.config
	a.makeWatcher()
	a.registry = prometheus.NewRegistry()
	reporters := []health.Reporter{a.journal, a.deadLetters, a.watcher}
	a.registry.MustRegister(a.door, a.watcher, a.journal, a.deadLetters, a.pipelines, a.pipelines.Made())
	for _, s := range a.sinks {
		a.registry.MustRegister(s.delivery)
		reporters = append(reporters, s.delivery)
		if s.collector != nil {
			a.registry.MustRegister(s.collector)
		}
		if s.reporter != nil {
			reporters = append(reporters, s.reporter)
		}
	}
	if a.monitor != nil {
		a.registry.MustRegister(a.monitor)
		reporters = append(reporters, a.monitor)
	}
	if a.files != nil {
		a.registry.MustRegister(a.files)
		reporters = append(reporters, a.files)
	}
	if a.kafka != nil {
		a.registry.MustRegister(a.kafka)
		reporters = append(reporters, a.kafka)
	}
	a.reporters = reporters
	listen := func(l config.Listener) string {
		if !l.Enabled {
			return ""
		}
		return l.Listen
	}
	var err error
	a.server, err = server.New(server.Options{
		API: listen(cfg.Server), Metrics: listen(cfg.Metrics), Pprof: listen(cfg.Pprof),
		Registry: a.registry, Reporters: reporters, Ready: a.ready,
		Status: a.status, Containers: a.containers, Files: a.listFiles, Tail: a.tail, DeadLetters: letters{a}, Logger: a.logger,
		Leaks: func() any { return a.watcher.Leaks() }, SupportBundle: a.supportBundle,
		Positions: func() (cursors.Export, error) { return cursors.Take(a.journal) },
	})
	return err
}

// run starts the parts, waits, and stops them in the order of the records.
func (a *app) run(ctx context.Context) error {
	endpoints := lifetime.NewGroup(context.WithoutCancel(ctx))
	endpoints.Go("server", a.server.Run)
	endpoints.Go("selfwatch", a.watcher.Run)
	keeping := lifetime.NewGroup(context.WithoutCancel(ctx))
	keeping.Go("positions", a.journal.Run)
	sinks := lifetime.NewGroup(context.WithoutCancel(ctx))
	for _, s := range a.sinks {
		sinks.Go("delivery", s.delivery.Run)
	}
	keeping.Go("dead_letters", a.deadLetters.Run)
	sources := lifetime.NewGroup(ctx)
	sources.Go("dispatcher", a.dispatcher.Run)
	sources.Go("dead_letters", a.replayer.Run)
	if a.monitor != nil {
		sources.Go("container_monitor", a.monitor.Run)
	}
	if a.files != nil {
		sources.Go("file_monitor", a.files.Run)
	}
	if a.kafka != nil {
		sources.Go("kafka_source", a.kafka.Run)
	}

	var err error
	select {
	case <-ctx.Done():
	case <-sources.Context().Done():
	case <-sinks.Context().Done():
	case <-keeping.Context().Done():
	case <-endpoints.Context().Done():
	}
	a.logger.Info("stopping", "shutdown_timeout", time.Duration(a.config.Dispatcher.ShutdownTimeout))
	keep := func(e error) {
		if err == nil {
			err = e
		}
	}
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
	for _, s := range a.sinks {
		s.delivery.CloseInput()
	}
	timer := time.AfterFunc(time.Duration(a.config.Dispatcher.ShutdownTimeout), func() {
		a.logger.Warn("shutdown_timeout", "undelivered", a.undelivered(),
			"hint", "they are read again after the next start")
		sinks.Cancel()
	})
	_ = sinks.Wait() // its error is asked for again by the caller
	timer.Stop()
}

func (a *app) undelivered() uint64 {
	var n uint64
	for _, s := range a.sinks {
		n += s.delivery.Accounts().InMemory
	}
	return n
}

// close releases what make has made.
func (a *app) close() {
	for _, s := range a.sinks {
		s.close()
	}
	if a.engine != nil {
		_ = a.engine.Close() // only idle connections are left
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
