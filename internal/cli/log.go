package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"

	"log_capturer/internal/config"
)

// agentLog is the agent's own log, whose level and form may change.
type agentLog struct {
	logger *slog.Logger
	level  slog.LevelVar
	json   atomic.Bool
}

func newAgentLog(cfg config.Log, w io.Writer) *agentLog {
	l := &agentLog{}
	l.set(cfg)
	options := &slog.HandlerOptions{Level: &l.level}
	l.logger = slog.New(formed{log: l, text: slog.NewTextHandler(w, options), json: slog.NewJSONHandler(w, options)})
	return l
}

// set changes the level and the form.
func (l *agentLog) set(cfg config.Log) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		panic(fmt.Sprintf("cli: a valid configuration has the log level %q", cfg.Level))
	}
	l.level.Set(level)
	l.json.Store(cfg.Format == "json")
}

// formed is a handler that writes in the form that the log has.
type formed struct {
	log        *agentLog
	text, json slog.Handler
}

func (f formed) Enabled(_ context.Context, level slog.Level) bool {
	return level >= f.log.level.Level()
}

func (f formed) Handle(ctx context.Context, r slog.Record) error {
	if f.log.json.Load() {
		return f.json.Handle(ctx, r)
	}
	return f.text.Handle(ctx, r)
}

func (f formed) WithAttrs(attrs []slog.Attr) slog.Handler {
	return formed{f.log, f.text.WithAttrs(attrs), f.json.WithAttrs(attrs)}
}

func (f formed) WithGroup(name string) slog.Handler {
	return formed{f.log, f.text.WithGroup(name), f.json.WithGroup(name)}
}
