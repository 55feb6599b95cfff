// Package tools has the commands that look into what an agent keeps: its spools
// and its dead letters.
//
// Spools are read from the disk, whether the agent runs or not. Dead letters are
// the running agent's, and are asked for over its API.
package tools

import (
	"errors"
	"flag"
	"fmt"
	"io"

	"log_capturer/internal/cli"
	"log_capturer/internal/config"
	"log_capturer/internal/spelling"
)

// All returns the commands.
func All() []cli.Tool {
	return []cli.Tool{
		{Name: "spool", Summary: "list, check or dump spools", Usage: spoolUsage, Run: runSpool},
		{Name: "dead-letters", Summary: "list, show, replay or purge dead letters", Usage: lettersUsage, Run: runLetters},
	}
}

// newFlags returns the flags of an action, with --config among them.
func newFlags(file *string) *flag.FlagSet {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(file, "config", "", "")
	return flags
}

// parse reads flags, which may stand before and after the arguments, and returns
// the arguments.
func parse(flags *flag.FlagSet, args []string) (rest []string, err error) {
	for len(args) > 0 {
		if err := flags.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, cli.UsageError(err.Error())
		}
		if args = flags.Args(); len(args) > 0 {
			rest, args = append(rest, args[0]), args[1:]
		}
	}
	return rest, nil
}

// action takes the first of the arguments, which must be one of those named.
func action(args []string, names ...string) (string, []string, error) {
	if len(args) == 0 {
		return "", nil, cli.UsageError("say what to do")
	}
	for _, name := range append(names, "-h", "-help", "--help") {
		if args[0] == name {
			if name[0] == '-' {
				return "", nil, flag.ErrHelp
			}
			return name, args[1:], nil
		}
	}
	message := fmt.Sprintf("%q is nothing that can be done", args[0])
	if near, ok := spelling.Nearest(args[0], names); ok {
		message += fmt.Sprintf("; did you mean %q?", near)
	}
	return "", nil, cli.UsageError(message)
}

// load returns the configuration of a file, or the default for none.
func load(env cli.Env, file string) (*config.Config, error) {
	if file == "" {
		return config.Default(), nil
	}
	cfg, err := config.Load(file, env.LookupEnv)
	if err != nil {
		return nil, cli.ConfigError{Err: err}
	}
	return cfg, nil
}
