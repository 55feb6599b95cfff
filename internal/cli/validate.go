package cli

import (
	"context"
	"flag"
	"fmt"
	"strings"

	"log_capturer/internal/config"
)

const validateUsage = `Usage: log_capturer validate --config FILE [--connect]

Checks a configuration and prints everything that is wrong with it, each with
file, line and column. Variables of the environment are put in, and the files
that hold secrets and certificates are read.

  --config FILE   the configuration, in YAML
  --connect       also try the engine, kafka_source and every destination, and say
                  of each whether it works, and what was tried where that is not
                  all; nothing is delivered

Exit codes: 0 valid, and everything that was tried works; 1 it could not be
tried, 2 wrong usage, 3 invalid, 4 valid, but something does not work.
`

// CheckFunc tries the engine and every destination of a configuration, and tells
// of each: what it is, where, and what is wrong with it.
type CheckFunc func(ctx context.Context, cfg *config.Config, tell func(what, where string, err error)) error

// validate checks a configuration.
func validate(ctx context.Context, c *call) int {
	var file string
	var connect bool
	_, code, ok := c.parseFlags(0, func(flags *flag.FlagSet) {
		flags.StringVar(&file, "config", "", "")
		flags.BoolVar(&connect, "connect", false, "")
	})
	if !ok {
		return code
	}
	if file == "" {
		return c.usageError("--config is missing")
	}
	cfg, err := config.Load(file, c.LookupEnv)
	if err != nil {
		return c.configError(err)
	}
	fmt.Fprintf(c.Stdout, "%s is valid: %s\n", file, describe(cfg.Sinks))
	if !connect {
		return ExitOK
	}
	ctx, stop := withSignals(ctx)
	defer stop()
	progress := c.Progress()
	progress("trying the engine and the destinations ...")
	failed := 0
	err = c.agent.Check(ctx, cfg, func(what, where string, err error) {
		progress("")
		if err == nil {
			fmt.Fprintf(c.Stdout, "  works   %s (%s)\n", what, where)
		} else {
			failed++
			text := strings.ReplaceAll(err.Error(), "\n", "\n          ")
			fmt.Fprintf(c.Stdout, "  FAILS   %s (%s): %s\n", what, where, text)
		}
		progress("trying the rest ...")
	})
	progress("")
	switch {
	case err != nil:
		return c.failure(ExitFailure, err)
	case failed > 0:
		return ExitUnreachable
	}
	return ExitOK
}

// describe lists sinks, as in "2 sinks (local_file, main: loki)".
func describe(sinks []config.Sink) string {
	list := make([]string, len(sinks))
	for i, s := range sinks {
		list[i] = s.Name
		if s.Name != s.Type {
			list[i] += ": " + s.Type
		}
	}
	noun := "sinks"
	if len(sinks) == 1 {
		noun = "sink"
	}
	return fmt.Sprintf("%d %s (%s)", len(sinks), noun, strings.Join(list, ", "))
}
