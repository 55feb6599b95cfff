package selfwatch

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
)

const (
	// maxRecentLines and maxRecentBytes bound what is kept of the log.
	maxRecentLines = 2000
	maxRecentBytes = 1 << 20
)

// Recent keeps the last messages of the agent's own log, for support bundles.
// Its methods may be called from several goroutines at once.
type Recent struct {
	mu    sync.Mutex
	lines [][]byte // oldest first
	bytes int
}

// Write takes one message, and lets go of the oldest ones.
func (r *Recent) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, append([]byte(nil), line...))
	r.bytes += len(line)
	drop := 0
	for len(r.lines)-drop > maxRecentLines || r.bytes > maxRecentBytes {
		r.bytes -= len(r.lines[drop])
		drop++
	}
	if drop > 0 {
		r.lines = append(r.lines[:0:0], r.lines[drop:]...)
	}
	return len(line), nil
}

// WriteTo writes the messages that are kept.
func (r *Recent) WriteTo(w io.Writer) (int64, error) {
	r.mu.Lock()
	lines := r.lines
	r.mu.Unlock()
	var n int64
	for _, line := range lines {
		written, err := w.Write(line)
		n += int64(written)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// Keep returns a logger that logs as one does, and whose messages are kept.
func (r *Recent) Keep(logger *slog.Logger) *slog.Logger {
	next := logger.Handler()
	// What is let through is for next to say.
	kept := slog.NewTextHandler(r, &slog.HandlerOptions{Level: slog.Level(-1 << 30)})
	return slog.New(tee{next, kept})
}

// tee is a handler that passes what the first of two lets through to both.
type tee struct{ first, second slog.Handler }

func (t tee) Enabled(ctx context.Context, level slog.Level) bool {
	return t.first.Enabled(ctx, level)
}

func (t tee) Handle(ctx context.Context, r slog.Record) error {
	return errors.Join(t.first.Handle(ctx, r.Clone()), t.second.Handle(ctx, r))
}

func (t tee) WithAttrs(attrs []slog.Attr) slog.Handler {
	return tee{t.first.WithAttrs(attrs), t.second.WithAttrs(attrs)}
}

func (t tee) WithGroup(name string) slog.Handler {
	return tee{t.first.WithGroup(name), t.second.WithGroup(name)}
}
