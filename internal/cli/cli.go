// Package cli is the command line: it reads arguments, loads the configuration
// and starts what the command names.
//
// It owns the texts and the exit codes that a user meets, and the signals that
// end the agent. What the agent does when it runs is given to Main from
// outside; the package knows none of it.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"log_capturer/internal/config"
)

// The exit codes.
const (
	// ExitOK: the command did what it was asked to.
	ExitOK = 0
	// ExitFailure: the agent could not start, or could not go on.
	ExitFailure = 1
	// ExitUsage: the command line is wrong.
	ExitUsage = 2
	// ExitConfig: the configuration is invalid, or cannot be read.
	ExitConfig = 3
)

// Env is what a process has of its surroundings.
type Env struct {
	Stdout, Stderr io.Writer
	// LookupEnv looks up a variable of the environment, as os.LookupEnv does.
	LookupEnv func(string) (string, bool)
}

// RunFunc runs the agent until ctx is cancelled or it cannot go on. Stdout is
// for what it says to the one who started it; all else goes to the logger.
type RunFunc func(ctx context.Context, cfg *config.Config, stdout io.Writer, logger *slog.Logger) error

// command is one of the words that may follow the program's name.
type command struct {
	name, summary, usage string
	run                  func(ctx context.Context, c *call) int
}

// call is one use of a command.
type call struct {
	Env
	command *command
	args    []string
	run     RunFunc
}

// commands are all commands, in the order in which they are listed.
func commands() []*command {
	return []*command{
		{"run", "capture logs until told to stop", runUsage, runAgent},
		{"validate", "check a configuration", validateUsage, validate},
		{"version", "print the version", versionUsage, version},
		{"help", "print this text, or that of a command", helpUsage, help},
	}
}

// Main carries out the command line args, which begin after the program's name,
// and returns the exit code. The command run calls run.
func Main(ctx context.Context, args []string, env Env, run RunFunc) int {
	name := "run"
	switch {
	case len(args) == 0:
	case slices.Contains([]string{"-h", "-help", "--help"}, args[0]):
		name, args = "help", args[1:]
	case slices.Contains([]string{"-version", "--version"}, args[0]):
		name, args = "version", args[1:]
	case !strings.HasPrefix(args[0], "-"):
		name, args = args[0], args[1:]
	}
	c := &call{Env: env, args: args, run: run}
	if c.command = find(name); c.command == nil {
		return c.unknownCommand(name)
	}
	return c.command.run(ctx, c)
}

// find returns the command of a name, or nil.
func find(name string) *command {
	all := commands()
	i := slices.IndexFunc(all, func(c *command) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return all[i]
}

func (c *call) unknownCommand(name string) int {
	var names []string
	for _, command := range commands() {
		names = append(names, command.name)
	}
	message := fmt.Sprintf("unknown command %q", name)
	if near, ok := config.Nearest(name, names); ok {
		message += fmt.Sprintf("; did you mean %q?", near)
	}
	fmt.Fprintf(c.Stderr, "log_capturer: %s\nSee 'log_capturer help'.\n", message)
	return ExitUsage
}

// parse reads the flags of a command, of which --config is the only one. It
// returns false with the exit code when the command is not to be carried out.
func (c *call) parse(withConfig bool) (file string, code int, ok bool) {
	flags := flag.NewFlagSet(c.command.name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	if withConfig {
		flags.StringVar(&file, "config", "", "")
	}
	switch err := flags.Parse(c.args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(c.Stdout, c.command.usage)
		return "", ExitOK, false
	case err != nil:
		return "", c.usageError("%v", err), false
	case flags.NArg() > 0:
		return "", c.usageError("unexpected argument %q", flags.Arg(0)), false
	}
	if isSet(flags, "config") && file == "" {
		return "", c.usageError("--config wants the name of a file"), false
	}
	return file, ExitOK, true
}

// isSet reports whether the flag was given.
func isSet(flags *flag.FlagSet, name string) bool {
	set := false
	flags.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

// usageError says what is wrong with the command line.
func (c *call) usageError(format string, args ...any) int {
	fmt.Fprintf(c.Stderr, "log_capturer %s: %s\n\n%s", c.command.name, fmt.Sprintf(format, args...), c.command.usage)
	return ExitUsage
}

// configError says what is wrong with a configuration, all of it.
func (c *call) configError(err error) int {
	fmt.Fprintln(c.Stderr, err)
	if list, ok := errors.AsType[config.Errors](err); ok {
		noun := "errors"
		if len(list) == 1 {
			noun = "error"
		}
		fmt.Fprintf(c.Stderr, "log_capturer: the configuration has %d %s\n", len(list), noun)
	}
	return ExitConfig
}
