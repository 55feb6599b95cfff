// Package cli is the command line: it reads arguments, loads the configuration
// and starts what the command names.
//
// It owns the texts and the exit codes that a user meets, and the signals that
// end a command. Each command has a file of its own. What the agent does when it
// runs is given to Main from outside, and what a running one does is asked over
// its API; the package knows none of it.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"log_capturer/internal/config"
	"log_capturer/internal/reload"
	"log_capturer/internal/spelling"
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
	// ExitUnreachable: the running agent, the engine or a destination cannot be
	// reached, or does not work.
	ExitUnreachable = 4
)

// Env is what a process has of its surroundings.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// LookupEnv looks up a variable of the environment, as os.LookupEnv does.
	LookupEnv func(string) (string, bool)
}

// RunFunc runs the agent until ctx is cancelled or it cannot go on. Reloads asks for
// another configuration. Stdout is for what the agent says to the one who started
// it; all else goes to the logger.
type RunFunc func(ctx context.Context, cfg *config.Config, reloads *reload.Reloads, stdout io.Writer, logger *slog.Logger) error

// Agent is what the commands are given of the agent.
type Agent struct {
	Run   RunFunc
	Check CheckFunc
	// Tools are further commands.
	Tools []Tool
}

// Tool is a further command. What it does is given to Main from outside.
type Tool struct {
	Name, Summary, Usage string
	// Run carries out the command with what follows its name. An error that is
	// a UsageError is shown with Usage.
	Run func(ctx context.Context, env Env, args []string) error
}

// UsageError says that the command line is wrong.
type UsageError string

func (e UsageError) Error() string { return string(e) }

// ConfigError says that the configuration is invalid, or cannot be read.
type ConfigError struct{ Err error }

func (e ConfigError) Error() string { return e.Err.Error() }
func (e ConfigError) Unwrap() error { return e.Err }

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
	agent   Agent
	// all are the commands that there are.
	all []*command
}

// commands are all commands, in the order in which they are listed.
func commands(tools []Tool) []*command {
	all := []*command{
		{"run", "capture logs until told to stop", runUsage, runAgent},
		{"validate", "check a configuration", validateUsage, validate},
		{"test", "hold pipelines to their tests", testUsage, testPipelines},
		{"explain", "show stage by stage what a pipeline does to lines", explainUsage, explain},
		{"tail", "show lines as a running agent accepts them", tailUsage, tail},
		{"top", "show what a running agent does, and keep that up to date", topUsage, top},
		{"containers", "list what a running agent knows of the containers", containersUsage, containers},
		{"positions", "show or change how far an agent has come", positionsUsage, positionsCommand},
		{"config", "print the configuration that is in effect, or convert one", configUsage, configure},
		{"completion", "print a script that makes a shell complete all this", completionUsage, completion},
	}
	for _, t := range tools {
		all = append(all, &command{t.Name, t.Summary, t.Usage, func(ctx context.Context, c *call) int { return c.useTool(ctx, t) }})
	}
	return append(all,
		&command{"version", "print the version", versionUsage, version},
		&command{"help", "print this text, or that of a command", helpUsage, help})
}

// useTool carries out a tool's command.
func (c *call) useTool(ctx context.Context, t Tool) int {
	err := t.Run(ctx, c.Env, c.args)
	usage, wrong := errors.AsType[UsageError](err)
	invalid, isInvalid := errors.AsType[ConfigError](err)
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(c.Stdout, c.command.usage)
		return ExitOK
	case wrong:
		return c.usageError("%s", string(usage))
	case isInvalid:
		return c.configError(invalid.Err)
	}
	fmt.Fprintf(c.Stderr, "log_capturer: %v\n", err)
	return ExitFailure
}

// Main carries out the command line args, which begin after the program's name,
// and returns the exit code.
func Main(ctx context.Context, args []string, env Env, agent Agent) int {
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
	c := &call{Env: env, args: args, agent: agent, all: commands(agent.Tools)}
	if name == completeCommand {
		return complete(ctx, c)
	}
	if c.command = c.find(name); c.command == nil {
		return c.unknownCommand(name)
	}
	return c.command.run(ctx, c)
}

// find returns the command of a name, or nil.
func (c *call) find(name string) *command {
	i := slices.IndexFunc(c.all, func(command *command) bool { return command.name == name })
	if i < 0 {
		return nil
	}
	return c.all[i]
}

func (c *call) unknownCommand(name string) int {
	var names []string
	for _, command := range c.all {
		names = append(names, command.name)
	}
	message := fmt.Sprintf("unknown command %q", name)
	if near, ok := spelling.Nearest(name, names); ok {
		message += fmt.Sprintf("; did you mean %q?", near)
	}
	fmt.Fprintf(c.Stderr, "log_capturer: %s\nSee 'log_capturer help'.\n", message)
	return ExitUsage
}

// parse reads the flags of a command, of which --config is the only one. It
// returns false with the exit code when the command is not to be carried out.
func (c *call) parse(withConfig bool) (file string, code int, ok bool) {
	_, code, ok = c.parseFlags(0, func(flags *flag.FlagSet) {
		if withConfig {
			flags.StringVar(&file, "config", "", "")
		}
	})
	return file, code, ok
}

// parseFlags reads the flags that define adds, which may stand before, behind
// and between at most operands arguments, and returns these. It returns false
// with the exit code when the command is not to be carried out.
func (c *call) parseFlags(operands int, define func(*flag.FlagSet)) (rest []string, code int, ok bool) {
	flags := flag.NewFlagSet(c.command.name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	define(flags)
	for args := c.args; ; args = flags.Args()[1:] {
		switch err := flags.Parse(args); {
		case errors.Is(err, flag.ErrHelp):
			fmt.Fprint(c.Stdout, c.command.usage)
			return nil, ExitOK, false
		case err != nil:
			return nil, c.usageError("%v", err), false
		}
		if flags.NArg() == 0 {
			break
		}
		if rest = append(rest, flags.Arg(0)); len(rest) > operands {
			return nil, c.usageError("unexpected argument %q", flags.Arg(0)), false
		}
	}
	for _, name := range []string{"config", "api"} {
		if isSet(flags, name) && flags.Lookup(name).Value.String() == "" {
			what := map[string]string{"config": "the name of a file", "api": "an address"}[name]
			return nil, c.usageError("--%s wants %s", name, what), false
		}
	}
	return rest, ExitOK, true
}

// sub carries out the command that the first argument names among those of a
// command that has commands of its own.
func (c *call) sub(ctx context.Context, subs map[string]func(context.Context, *call) int) int {
	if len(c.args) == 0 {
		return c.usageError("what to do is missing")
	}
	if slices.Contains([]string{"-h", "-help", "--help"}, c.args[0]) {
		fmt.Fprint(c.Stdout, c.command.usage)
		return ExitOK
	}
	run := subs[c.args[0]]
	if run == nil {
		message := fmt.Sprintf("unknown command %q", c.args[0])
		if near, ok := spelling.Nearest(c.args[0], slices.Sorted(maps.Keys(subs))); ok {
			message += fmt.Sprintf("; did you mean %q?", near)
		}
		return c.usageError("%s", message)
	}
	deeper := *c
	deeper.args = c.args[1:]
	return run(ctx, &deeper)
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

// failure says why a command could not be carried out.
func (c *call) failure(code int, err error) int {
	fmt.Fprintf(c.Stderr, "log_capturer: %v\n", err)
	return code
}

// load reads a configuration, or returns the defaults where file is empty.
func (c *call) load(file string) (*config.Config, error) {
	if file == "" {
		return config.Default(), nil
	}
	return config.Load(file, c.LookupEnv)
}
