// Command lab is the load test of the agent: it starts containers that write
// numbered lines, watches an agent, counts every line, and judges.
//
// Run makes the agent, runs whole scenarios with it and writes reports. Controls
// runs agents that have a fault planted in them, and fails unless each is found
// out. Spawn and monitor are for an agent that runs already.
//
// The lab trusts the containers' own counts for what was written and the
// destination for what was delivered. What the agent occupies it reads from the
// kernel, and asks the agent only for what the agent alone knows.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

const usage = `Usage: lab run|controls|spawn|monitor [OPTIONS]

  run       run scenarios: engine, containers, agent, destination, verdict
  controls  run agents with planted faults, each of which must be found out
  spawn     start containers that write numbered lines (spawn_containers.sh)
  monitor   watch a running agent, and judge it        (monitor_1hour.sh)

'lab COMMAND --help' lists the options of a command.
`

// errVerdict is the error of a monitor whose table has a failed row.
var errVerdict = errors.New("a criterion failed")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run carries out a command and returns the exit status: 0, 1 when it went
// wrong or a criterion failed, 2 for wrong usage.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	var err error
	switch args[0] {
	case "run":
		var o runOptions
		flags := o.flags(stderr)
		if code, ok := parseNames(flags, args[1:], &o.names); !ok {
			return code
		}
		err = runScenarios(ctx, o, stdout)
	case "controls":
		var o controlOptions
		flags := o.flags(stderr)
		if code, ok := parseNames(flags, args[1:], &o.names); !ok {
			return code
		}
		err = runControls(ctx, o, stdout)
	case "spawn":
		var o spawnOptions
		if code, ok := parse(o.flags(stderr), args[1:]); !ok {
			return code
		}
		err = spawn(ctx, o, stdout)
	case "monitor":
		var o monitorOptions
		if code, ok := parse(o.flags(stderr), args[1:]); !ok {
			return code
		}
		err = monitor(ctx, o, stdout)
	case "help", "-h", "--help":
		fmt.Fprint(stdout, usage)
		return 0
	default:
		fmt.Fprint(stderr, usage)
		return 2
	}
	if err != nil {
		if !errors.Is(err, errVerdict) {
			fmt.Fprintln(stderr, "lab:", err)
		}
		return 1
	}
	return 0
}

// parse parses options, and reports whether the command goes on.
func parse(flags *flag.FlagSet, args []string) (code int, ok bool) {
	var names []string
	code, ok = parseNames(flags, args, &names)
	if ok && len(names) > 0 {
		fmt.Fprintf(flags.Output(), "unknown argument %q\n", names[0])
		return 2, false
	}
	return code, ok
}

// parseNames parses options, before, between and behind names.
func parseNames(flags *flag.FlagSet, args []string, names *[]string) (code int, ok bool) {
	for {
		switch err := flags.Parse(args); {
		case errors.Is(err, flag.ErrHelp):
			return 0, false
		case err != nil:
			return 2, false
		case flags.NArg() == 0:
			return 0, true
		}
		*names = append(*names, flags.Arg(0))
		args = flags.Args()[1:]
	}
}
