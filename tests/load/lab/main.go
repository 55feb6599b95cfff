// Command lab is the load test of the agent: it starts containers that write
// numbered lines, watches a running agent, and judges.
//
// It asks the agent for everything that it knows of itself, the containers'
// count files for what was written, and the agent's files for what was
// captured.
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

const usage = `Usage: lab spawn|monitor [OPTIONS]

  spawn     start containers that write numbered lines (spawn_containers.sh)
  monitor   watch a running agent, and judge it        (monitor_1hour.sh)

'lab spawn --help' and 'lab monitor --help' list the options.
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
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0, false
	case err != nil:
		return 2, false
	case flags.NArg() > 0:
		fmt.Fprintf(flags.Output(), "unknown argument %q\n", flags.Arg(0))
		return 2, false
	}
	return 0, true
}
