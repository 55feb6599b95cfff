package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"log_capturer/internal/client"
	"log_capturer/internal/lifetime"
	"log_capturer/internal/server"
)

const topUsage = `Usage: log_capturer top [--interval TIME] [--once] [--api ADDRESS | --config FILE]

Shows what a running agent does, and keeps that up to date: what it uses of the
machine, how the sinks and the containers fare, with rates since the last look.
When the output is no terminal, one such picture is printed.

  --interval TIME  how often to look, as 500ms or 2s; 1s without it
  --once           print one picture, also on a terminal
` + apiUsage + `
Keys:
  n s g l b t     sort containers by name, state, lag, lines/s, bytes/s, total
  r               reverse the order
  / TEXT Enter    show only containers whose name, image or state holds TEXT;
                  Esc shows all again
  up down j k     scroll; also PgUp, PgDn
  space           stand still
  q, Ctrl-C       end

Exit codes: 0 done, 1 failure, 2 wrong usage, 3 invalid configuration, 4 no
agent answers.
`

// sample is what the agent said at one moment.
type sample struct {
	at         time.Time
	status     server.Status
	containers []server.Container
	health     client.Health
	err        error
}

// look asks the agent for a sample.
func look(ctx context.Context, agent *client.Client) sample {
	var s sample
	if s.status, s.err = agent.Status(ctx); s.err != nil {
		return s
	}
	s.at = time.Now()
	if s.containers, s.err = agent.Containers(ctx); s.err != nil {
		return s
	}
	s.health, s.err = agent.Health(ctx)
	return s
}

// top shows what a running agent does.
func top(ctx context.Context, c *call) int {
	var where agentFlags
	var interval time.Duration
	var once bool
	_, code, ok := c.parseFlags(0, func(flags *flag.FlagSet) {
		where.define(flags)
		flags.DurationVar(&interval, "interval", time.Second, "")
		flags.BoolVar(&once, "once", false, "")
	})
	if !ok {
		return code
	}
	if interval < 100*time.Millisecond {
		return c.usageError("--interval is at least 100ms, not %v", interval)
	}
	agent, code, ok := c.connect(where)
	if !ok {
		return code
	}
	defer agent.Close()
	ctx, restore := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer restore()
	first := look(ctx, agent)
	if first.err != nil {
		return c.agentError(ctx, first.err)
	}
	view := newTopView(first)
	if once || !isTerminal(c.Stdin) || !isTerminal(c.Stdout) {
		if !pause(ctx, interval) {
			return ExitOK
		}
		second := look(ctx, agent)
		if second.err != nil {
			return c.agentError(ctx, second.err)
		}
		view.add(second)
		view.width = 1000
		for _, line := range view.lines() {
			fmt.Fprintln(c.Stdout, strings.TrimRight(line, " "))
		}
		return ExitOK
	}
	view.color = c.wantsColor(c.Stdout)
	if err := topScreen(ctx, view, agent, interval); err != nil {
		return c.failure(ExitFailure, err)
	}
	return ExitOK
}

// pause waits, and returns false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// errQuit ends the screen when the user wants that.
var errQuit = errors.New("quit")

// topScreen keeps the terminal up to date until the user ends it or ctx is done.
// It owns the terminal meanwhile, and gives it back as it was.
func topScreen(ctx context.Context, view *topView, agent *client.Client, interval time.Duration) (err error) {
	screen, err := openScreen(os.Stdin, os.Stdout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, screen.close()) }()
	samples, keys := make(chan sample), make(chan key)
	g := lifetime.NewGroup(ctx)
	g.Go("cli", func(ctx context.Context) error {
		for pause(ctx, interval) {
			select {
			case samples <- look(ctx, agent):
			case <-ctx.Done():
			}
		}
		return nil
	})
	g.Go("cli", func(ctx context.Context) error { return screen.readKeys(ctx, keys) })
	g.Go("cli", func(ctx context.Context) error {
		resized := make(chan os.Signal, 1)
		signal.Notify(resized, syscall.SIGWINCH)
		defer signal.Stop(resized)
		for {
			width, height, err := screen.size()
			if err != nil {
				return err
			}
			view.width, view.height = width, height
			if err := screen.draw(view.lines()); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return nil
			case s := <-samples:
				view.add(s)
			case k := <-keys:
				if !view.press(k) {
					return errQuit
				}
			case <-resized:
			}
		}
	})
	if err := g.Wait(); !errors.Is(err, errQuit) {
		return err
	}
	return nil
}
