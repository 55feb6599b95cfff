package app

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"log_capturer/internal/config"
	"log_capturer/internal/monitors/container"
	"log_capturer/internal/monitors/kafka"
	"log_capturer/internal/positions"
	"log_capturer/internal/reload"
)

// checkTimeout bounds the trying of the engine, or of one destination.
const checkTimeout = 10 * time.Second

// limited is implemented by sinks that cannot find out all.
type limited interface {
	// Tried says what was found out.
	Tried() string
}

// Check tries the engine, the brokers that are read from, and every destination
// that a configuration names, and tells of each when it is done: what it is,
// where, and the error, nil for one that works. It touches nothing of an agent
// that runs with the same configuration, and leaves nothing behind.
func Check(ctx context.Context, cfg *config.Config, tell func(what, where string, err error)) error {
	// Sinks want a journal. The agent's own may be in use.
	dir, err := os.MkdirTemp("", "log_capturer-check-")
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // it is in the directory of temporary files
	a := newApp(cfg, reload.New(reload.Options{}), os.Stdout, slog.New(slog.DiscardHandler))
	defer a.close()
	if a.journal, err = positions.Open(dir, positions.Options{}); err != nil {
		return err
	}
	if cfg.ContainerMonitor.Enabled {
		where, err := a.checkEngine(ctx)
		tell("engine", where, err)
	}
	if cfg.KafkaSource.Enabled {
		tell("kafka_source", topics(cfg.KafkaSource), a.checkKafkaSource(ctx))
	}
	for _, c := range cfg.Sinks {
		tried, err := a.checkSink(ctx, c)
		where := destination(c, cfg.DataDir)
		if err == nil && tried != "" {
			where += "; " + tried
		}
		tell("sink "+c.Name, where, err)
	}
	return nil
}

func (a *app) checkEngine(ctx context.Context) (where string, err error) {
	engine, err := container.NewDocker(a.now().config.ContainerMonitor.DockerHost)
	if err != nil {
		return a.now().config.ContainerMonitor.DockerHost, err
	}
	defer engine.Close() //nolint:errcheck // only idle connections are left
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	_, err = engine.List(ctx)
	return engine.Address(), err
}

func (a *app) checkKafkaSource(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return kafka.Check(ctx, a.kafkaOptions(a.now().config.KafkaSource))
}

func (a *app) checkSink(ctx context.Context, c config.Sink) (tried string, err error) {
	s, err := a.makeSink(a.now().config, c)
	if err != nil {
		return "", err
	}
	defer s.close()
	if l, ok := s.checker.(limited); ok {
		tried = l.Tried()
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return tried, s.checker.Check(ctx)
}
