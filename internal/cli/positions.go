package cli

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"log_capturer/internal/cursors"
)

const positionsUsage = `Usage: log_capturer positions show [--json]
       log_capturer positions export
       log_capturer positions import [--replace] FILE
       log_capturer positions reset [--to new|beginning|TIME] SOURCE

Positions say how far the agent has come, for each sink and source.

  show            list them
  export          print them as JSON
  import FILE     set those that FILE holds, or standard input where FILE is "-";
                  all of them or, when one is wrong, none
  reset SOURCE    read a source anew, for all sinks. SOURCE is container/ID, or
                  the beginning of the id, of at least four digits

The lines that a source is read anew from are delivered again: destinations that
do not drop repeats, such as local_file, have them twice. What a position does not
hold is the length of local_file's files.

What a sink's spool has of a source goes out first: as long as there is some of it,
its position can't be changed. Let the agent run until the spool is empty.

import and reset change the agent's files, and so work only while it does not
run. show and export ask the agent while it runs.

  --config FILE   the configuration that names the agent's data_dir, and its API
  --data-dir DIR  the agent's data_dir; without both, ./log_capturer-data
  --api ADDRESS   the running agent's API, where it is not what the configuration
                  says
  --json          print what the export has
  --replace       remove the positions that FILE does not hold
  --to START      where to begin: new (as with a source that was not seen before:
                  container_monitor.start_at says; this is the default),
                  beginning (with the oldest line that there is), or after a time
                  such as 2026-03-04T05:06:07Z

Exit codes: 0 done, 1 failure (also when the agent runs and must not), 2 wrong
usage, 3 invalid configuration, 4 the running agent does not answer.
`

// positionsCall is one use of the command.
type positionsCall struct {
	*call
	where    agentFlags
	dataDir  string
	asJSON   bool
	replace  bool
	to       string
	operands []string
}

// positionsCommand carries out the commands around positions.
func positionsCommand(ctx context.Context, c *call) int {
	sub := func(operands int, run func(context.Context, *positionsCall) int) func(context.Context, *call) int {
		return func(ctx context.Context, c *call) int {
			p := &positionsCall{call: c}
			var code int
			var ok bool
			if p.operands, code, ok = c.parseFlags(operands, p.define); !ok {
				return code
			}
			if len(p.operands) < operands {
				return c.usageError("what it is about is missing")
			}
			return run(ctx, p)
		}
	}
	return c.sub(ctx, map[string]func(context.Context, *call) int{
		"show":   sub(0, showPositions),
		"export": sub(0, exportPositions),
		"import": sub(1, importPositions),
		"reset":  sub(1, resetPosition),
	})
}

func (p *positionsCall) define(flags *flag.FlagSet) {
	p.where.define(flags)
	flags.StringVar(&p.dataDir, "data-dir", "", "")
	flags.BoolVar(&p.asJSON, "json", false, "")
	flags.BoolVar(&p.replace, "replace", false, "")
	flags.StringVar(&p.to, "to", "new", "")
}

// read returns the positions: from the agent when it runs, else from its files.
// names are the names of containers by source, where they are known.
func (p *positionsCall) read(ctx context.Context) (e cursors.Export, names map[string]string, code int, ok bool) {
	if p.where.api == "" {
		dir, code, ok := p.directory()
		if !ok {
			return e, nil, code, false
		}
		journal, err := cursors.Open(dir)
		if err == nil {
			e, err = cursors.Take(journal)
			if err = errors.Join(err, journal.Close()); err != nil {
				return e, nil, p.failure(ExitFailure, err), false
			}
			return e, nil, ExitOK, true
		}
		if !errors.Is(err, cursors.ErrRunning) {
			return e, nil, p.failure(ExitFailure, err), false
		}
	}
	agent, code, ok := p.connect(p.where)
	if !ok {
		return e, nil, code, false
	}
	defer agent.Close()
	e, err := agent.Positions(ctx)
	if err != nil {
		return e, nil, p.agentError(ctx, err), false
	}
	containers, err := agent.Containers(ctx)
	if err != nil {
		return e, nil, p.agentError(ctx, err), false
	}
	names = map[string]string{}
	for i := range containers {
		names["container/"+containers[i].ID] = containers[i].Name
	}
	return e, names, ExitOK, true
}

// directory returns the agent's data directory.
func (p *positionsCall) directory() (dir string, code int, ok bool) {
	if p.dataDir != "" {
		return p.dataDir, ExitOK, true
	}
	cfg, err := p.load(p.where.config)
	if err != nil {
		return "", p.configError(err), false
	}
	return cfg.DataDir, ExitOK, true
}

func showPositions(ctx context.Context, p *positionsCall) int {
	e, names, code, ok := p.read(ctx)
	if !ok {
		return code
	}
	if p.asJSON {
		return p.printJSON(e)
	}
	table := tabwriter.NewWriter(p.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "SOURCE\tSINK\tRECORDS\tLAST LINE\tNAME")
	for i := range e.Positions {
		position := &e.Positions[i]
		last := "none: from the beginning"
		switch {
		case !position.Last.IsZero():
			last = position.Last.Format(time.RFC3339Nano)
		case !position.From.IsZero():
			last = "none: from " + position.From.Format(time.RFC3339Nano)
		}
		source := printable(position.Source)
		if kind, id, ok := strings.Cut(source, "/"); ok && kind == "container" {
			source = kind + "/" + shortID(id)
		}
		row := []string{source, printable(position.Sink), fmt.Sprint(position.Records), last, printable(names[position.Source])}
		fmt.Fprintln(table, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	_ = table.Flush() // words for people
	return ExitOK
}

func exportPositions(ctx context.Context, p *positionsCall) int {
	e, _, code, ok := p.read(ctx)
	if !ok {
		return code
	}
	return p.printJSON(e)
}

// change opens the journal for a change, and closes it again.
func (p *positionsCall) change(do func(cursors.Journal, cursors.Spooled) error) int {
	dir, code, ok := p.directory()
	if !ok {
		return code
	}
	journal, err := cursors.Open(dir)
	if errors.Is(err, cursors.ErrRunning) {
		err = fmt.Errorf("%w in %s: stop it first, then start it again", err, dir)
	}
	if err != nil {
		return p.failure(ExitFailure, err)
	}
	held, err := cursors.FindSpooled(dir)
	if err == nil {
		err = do(journal, held)
	}
	if err := errors.Join(err, journal.Close()); err != nil {
		return p.failure(ExitFailure, err)
	}
	return ExitOK
}

// maxImport bounds what is read of an import, in bytes.
const maxImport = 256 << 20

func importPositions(_ context.Context, p *positionsCall) int {
	in, name := p.Stdin, p.operands[0]
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return p.failure(ExitFailure, fmt.Errorf("read positions: %w", err))
		}
		defer f.Close() //nolint:errcheck // a file that was read
		in = f
	}
	var e cursors.Export
	if err := json.NewDecoder(io.LimitReader(in, maxImport)).Decode(&e); err != nil {
		return p.failure(ExitFailure, fmt.Errorf("%s is no export of positions: %w", name, err))
	}
	code := p.change(func(j cursors.Journal, held cursors.Spooled) error {
		return cursors.Import(j, held, e, p.replace)
	})
	if code == ExitOK {
		fmt.Fprintf(p.Stdout, "%d positions are set\n", len(e.Positions))
	}
	return code
}

func resetPosition(_ context.Context, p *positionsCall) int {
	var start cursors.Start
	switch p.to {
	case "new":
		start.AsNew = true
	case "beginning":
	default:
		var err error
		if start.After, err = time.Parse(time.RFC3339Nano, p.to); err != nil {
			return p.usageError("--to is new, beginning or a time such as 2026-03-04T05:06:07Z, not %q", p.to)
		}
	}
	var source string
	code := p.change(func(j cursors.Journal, held cursors.Spooled) (err error) {
		source, err = cursors.Reset(j, held, p.operands[0], start)
		return err
	})
	if code == ExitOK {
		how := map[string]string{"new": "as a new source", "beginning": "from the beginning"}[p.to]
		if how == "" {
			how = "from " + p.to
		}
		fmt.Fprintf(p.Stdout, "%s is read %s when the agent starts\n", source, how)
	}
	return code
}
