package cli

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"runtime/debug"
	"strings"

	"log_capturer/internal/config"
	"log_capturer/internal/reload"
)

const runUsage = `Usage: log_capturer run [--config FILE] [--watch]

Captures the logs of all containers and delivers them, until it gets SIGINT or
SIGTERM. It then delivers what it has read already, for as long as
dispatcher.shutdown_timeout. A second signal ends it at once. SIGHUP has it read
the configuration anew: it applies what was changed, or nothing and logs why.

  --config FILE   the configuration, in YAML; without it the defaults are used:
                  logs go to files in ./log_capturer-data
  --watch         read the configuration anew whenever the file was changed and
                  has been still for a second

Exit codes: 0 stopped by a signal, 1 it could not start or go on, 2 wrong
usage, 3 invalid configuration.
`

// runAgent runs the agent until it is told to stop.
func runAgent(ctx context.Context, c *call) int {
	var file string
	var watch bool
	_, code, ok := c.parseFlags(0, func(flags *flag.FlagSet) {
		flags.StringVar(&file, "config", "", "")
		flags.BoolVar(&watch, "watch", false, "")
	})
	if !ok {
		return code
	}
	if watch && file == "" {
		return c.usageError("--watch wants a --config to watch")
	}
	cfg, err := c.load(file)
	if err != nil {
		return c.configError(err)
	}
	log := newAgentLog(cfg.Log, c.Stderr)
	asks := reload.New(reload.Options{
		Path: file, Watch: watch, Logger: log.logger,
		Load:    func() (*config.Config, error) { return c.load(file) },
		Applied: func(cfg *config.Config) { log.set(cfg.Log) },
	})
	ctx, stop := withSignals(ctx)
	defer stop()
	stopReloads := onReloadSignal(func() { asks.Ask(reload.BySignal) })
	defer stopReloads()
	if err := c.agent.Run(ctx, cfg, asks, c.Stdout, log.logger); err != nil {
		return c.failure(ExitFailure, err)
	}
	return ExitOK
}

const versionUsage = `Usage: log_capturer version

Prints the version of the program and of the Go that it was built with.
`

// version prints what the build says of itself.
func version(_ context.Context, c *call) int {
	if _, code, ok := c.parse(false); !ok {
		return code
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{GoVersion: "an unknown Go"}
	}
	fmt.Fprintln(c.Stdout, versionText(info))
	return ExitOK
}

// versionText returns the version, and the commit where it is known.
func versionText(info *debug.BuildInfo) string {
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	text := "log_capturer " + cmp.Or(info.Main.Version, "(devel)")
	if revision := settings["vcs.revision"]; revision != "" {
		text += ", commit " + revision
		if settings["vcs.modified"] == "true" {
			text += " with changes"
		}
	}
	return text + ", " + info.GoVersion
}

const usage = `log_capturer captures every line that every container writes, and delivers it.

Usage: log_capturer [COMMAND]

Without a command it runs: 'log_capturer' is 'log_capturer run', and
'log_capturer --config FILE' is 'log_capturer run --config FILE'.

Commands:
%s
Exit codes: 0 done, 1 failure at run time, 2 wrong usage, 3 invalid
configuration, 4 the agent, the engine or a destination cannot be reached.
'log_capturer help COMMAND' tells more of a command.
`

const helpUsage = `Usage: log_capturer help [COMMAND]

Prints what a command does, or without one the list of commands.
`

// help prints the usage of the program, or of one command.
func help(_ context.Context, c *call) int {
	if len(c.args) > 1 {
		return c.usageError("unexpected argument %q", c.args[1])
	}
	if len(c.args) == 1 {
		about := c.find(c.args[0])
		if about == nil {
			return c.unknownCommand(c.args[0])
		}
		fmt.Fprint(c.Stdout, about.usage)
		return ExitOK
	}
	var list strings.Builder
	for _, command := range c.all {
		fmt.Fprintf(&list, "  %-12s %s\n", command.name, command.summary)
	}
	fmt.Fprintf(c.Stdout, usage, list.String())
	return ExitOK
}
