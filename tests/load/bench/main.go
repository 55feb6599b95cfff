// Command bench measures what the agent costs: the real binary as a process, on
// json-files that a real engine wrote, into an endpoint that counts.
//
//	go run ./tests/load/bench [flags] MEASURE...
//
// The measures are in measures (measures.go); docs/performance.md says what each
// shows and keeps results. The endpoint is a process of its own, so that its
// work is not counted as the agent's, and it counts every line: a figure is
// printed only for a run in which exactly the lines written arrived.
//
// The program is its own container image and its own endpoint: it runs itself
// with the first argument "write" or "endpoint".
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

func main() {
	err := run()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "write":
			return write(ctx, os.Args[2:], os.Stdout)
		case "endpoint":
			return serveEndpoint(ctx, os.Args[2:])
		}
	}
	return bench(ctx, os.Args[1:], os.Stdout, os.Stderr)
}

// options are the command line.
type options struct {
	lines, files int
	rounds       int
	seconds      int
	keep         bool
	out          string
	agent        string
	pprof        string
}

// bench carries out the measures that args name. Results go to stdout, progress
// to stderr.
func bench(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: go run ./tests/load/bench [flags] MEASURE...")
		flags.PrintDefaults()
		fmt.Fprintln(stderr, "measures:")
		for _, m := range measures {
			fmt.Fprintf(stderr, "  %-14s %s\n", m.name, m.what)
		}
	}
	flags.IntVar(&o.lines, "lines", 2_000_000, "`lines` of the files to catch up with")
	flags.IntVar(&o.files, "files", 8, "`files` that they are in")
	flags.IntVar(&o.rounds, "rounds", 3, "how many `times` a run is repeated")
	flags.IntVar(&o.seconds, "seconds", 60, "`seconds` over which a steady state is measured")
	flags.BoolVar(&o.keep, "keep", false, "keep the written files (containers with the label "+corpusLabel+") for the next time")
	flags.StringVar(&o.out, "out", "", "`file` to write the results to as well")
	flags.StringVar(&o.agent, "agent", "", "agent `binary` to measure instead of one built from this tree")
	flags.StringVar(&o.pprof, "pprof", "127.0.0.1:0", "`address` at which the agent serves its profiles")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		flags.Usage()
		return errors.New("name at least one measure")
	}
	if o.lines < 1 || o.files < 1 || o.rounds < 1 || o.seconds < 1 || o.lines%o.files != 0 {
		return errors.New("-lines, -files, -rounds and -seconds must be at least 1, and -lines a multiple of -files")
	}
	var chosen []measure
	for _, name := range flags.Args() {
		i := slices.IndexFunc(measures, func(m measure) bool { return m.name == name })
		if i < 0 {
			var names []string
			for _, m := range measures {
				names = append(names, m.name)
			}
			return fmt.Errorf("no measure %q; there are: %s", name, strings.Join(names, ", "))
		}
		chosen = append(chosen, measures[i])
	}
	if o.out != "" {
		f, err := os.Create(o.out)
		if err != nil {
			return err
		}
		defer f.Close()
		stdout = io.MultiWriter(stdout, f)
	}
	r, err := newRig(ctx, o, stdout, stderr)
	if err != nil {
		return err
	}
	defer r.close()
	for _, m := range chosen {
		fmt.Fprintf(stdout, "\n## %s: %s\n\n", m.name, m.what)
		if err := m.run(ctx, r); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}
