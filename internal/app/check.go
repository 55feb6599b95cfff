package app

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"log_capturer/internal/config"
	"log_capturer/internal/monitors/container"
	"log_capturer/internal/positions"
)

// checkTimeout bounds the trying of the engine, or of one destination.
const checkTimeout = 10 * time.Second

// errUntried says that there is no way to try a destination, which is neither
// good nor bad: cli tells it apart by its method.
type errUntried struct{}

func (errUntried) Error() string { return "sinks of this type cannot be tried" }
func (errUntried) Untried()      {}

// Check tries the engine and every destination that a configuration names, and
// tells of each when it is done: what it is, where, and the error, nil for one
// that works. It touches nothing of an agent that runs with the same
// configuration, and leaves nothing behind.
func Check(ctx context.Context, cfg *config.Config, tell func(what, where string, err error)) error {
	// Sinks want a journal. The agent's own may be in use.
	dir, err := os.MkdirTemp("", "log_capturer-check-")
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // it is in the directory of temporary files
	a := &app{config: cfg, logger: slog.New(slog.DiscardHandler)}
	defer a.close()
	if a.journal, err = positions.Open(dir, positions.Options{}); err != nil {
		return err
	}
	if cfg.ContainerMonitor.Enabled {
		where, err := a.checkEngine(ctx)
		tell("engine", where, err)
	}
	for _, c := range cfg.Sinks {
		tell("sink "+c.Name, destination(c, cfg.DataDir), a.checkSink(ctx, c))
	}
	return nil
}

func (a *app) checkEngine(ctx context.Context) (where string, err error) {
	engine, err := container.NewDocker(a.config.ContainerMonitor.DockerHost)
	if err != nil {
		return a.config.ContainerMonitor.DockerHost, err
	}
	defer engine.Close() //nolint:errcheck // only idle connections are left
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	_, err = engine.List(ctx)
	return engine.Address(), err
}

func (a *app) checkSink(ctx context.Context, c config.Sink) error {
	s, err := a.makeSink(c)
	if err != nil {
		return err
	}
	defer s.close()
	if s.checker == nil {
		return errUntried{}
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return s.checker.Check(ctx)
}
