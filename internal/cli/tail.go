package cli

import (
	"bufio"
	"cmp"
	"context"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"os/signal"
	"syscall"

	"log_capturer/internal/client"
	"log_capturer/internal/server"
)

const tailUsage = `Usage: log_capturer tail [SOURCE...] [FLAGS]

Shows lines as a running agent accepts them, from now on, until it is
interrupted. SOURCE is a pattern of containers' names, of files' paths or of
files' names (* stands for any text without a slash), or the beginning of a
container's id, of at least four digits; without one everything is shown. All
that the flags want has to be true of a line.

A line begins with its time and its container or file, then "|" for stdout or
"!" for stderr. Tailing never slows the agent down: when this program, or who reads
its output, is too slow, lines are skipped, and how many is said on standard error.

  --stage STAGE     raw shows lines as they were read, and is what there is without
                    it; processed shows what the pipelines make of them, without
                    those that they drop or still hold
  --stream STREAM   only stdout or stderr
  --level LEVEL     only lines of this level and above: trace, debug, info, warn,
                    error or fatal, which a pipeline has found or the beginning of
                    the line says
  --where EXPR      only lines for which an expression of the pipelines is true, as
                    in '(fields.status ?? 0) >= 500' or 'container_labels.tier == "web"'
  --text TEXT       only lines that hold TEXT
  --regexp REGEXP   only lines that match REGEXP (RE2)
  --lines N         end after N lines
  --json            print each line as a JSON object, with all that is known
  --color WHEN      auto, always or never; auto is on a terminal, unless
                    $NO_COLOR is set
` + apiUsage + `
Exit codes: 0 interrupted or done, 2 wrong usage, 3 invalid configuration, 4 no
agent answers, or it has ended.
`

// tail shows the lines that a running agent accepts.
func tail(ctx context.Context, c *call) int {
	var where agentFlags
	var filter client.TailFilter
	var asJSON bool
	var lines int
	var color string
	patterns, code, ok := c.parseFlags(1000, func(flags *flag.FlagSet) {
		where.define(flags)
		flags.StringVar(&filter.Stage, "stage", "", "")
		flags.StringVar(&filter.Stream, "stream", "", "")
		flags.StringVar(&filter.Level, "level", "", "")
		flags.StringVar(&filter.Where, "where", "", "")
		flags.StringVar(&filter.Text, "text", "", "")
		flags.StringVar(&filter.Regexp, "regexp", "", "")
		flags.IntVar(&lines, "lines", 0, "")
		flags.BoolVar(&asJSON, "json", false, "")
		flags.StringVar(&color, "color", "auto", "")
	})
	if !ok {
		return code
	}
	out := &tailPrinter{call: c, out: bufio.NewWriter(c.Stdout), terminal: isTerminal(c.Stdout), json: asJSON}
	switch color {
	case "auto":
		out.color = c.wantsColor(c.Stdout)
	case "always":
		out.color = true
	case "never":
	default:
		return c.usageError("--color is auto, always or never, not %q", color)
	}
	filter.Sources = patterns
	agent, code, ok := c.connect(where)
	if !ok {
		return code
	}
	defer agent.Close()
	ctx, restore := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer restore()
	stream, err := agent.Tail(ctx, filter)
	if err != nil {
		if refused, is := asRefused(err); is {
			return c.usageError("%s", refused.Message)
		}
		return c.agentError(ctx, err)
	}
	defer stream.Close() //nolint:errcheck // a stream that was read
	for shown := 0; lines == 0 || shown < lines; {
		line, text, err := stream.Next()
		if err != nil {
			_ = out.out.Flush() // the error to tell of is the other one
			return c.agentError(ctx, err)
		}
		if line.Skipped == 0 && line.Trouble == "" {
			shown++
		}
		if err := out.print(line, text, stream.Pending() && shown != lines); err != nil {
			return c.failure(ExitFailure, fmt.Errorf("print: %w", err))
		}
	}
	return ExitOK
}

// tailPrinter prints the lines of a tail.
type tailPrinter struct {
	*call
	out                   *bufio.Writer
	terminal, color, json bool
}

// print prints a line, of which text is the JSON. When no more lines wait it is
// seen at once.
func (p *tailPrinter) print(line server.TailLine, text []byte, more bool) error {
	switch {
	case line.Skipped > 0 && !p.json:
		return p.note("%d lines skipped here: the output is too slow", line.Skipped)
	case line.Trouble != "" && !p.json:
		return p.note("lines for which --where has no answer are not shown: %s", line.Trouble)
	// In JSON these are lines of their own as well, so that they have a place.
	case p.json:
		if _, err := fmt.Fprintf(p.out, "%s\n", text); err != nil {
			return err
		}
	default:
		if err := p.printText(line); err != nil {
			return err
		}
	}
	if more {
		return nil
	}
	return p.out.Flush()
}

// note tells on standard error what is missing here.
func (p *tailPrinter) note(format string, args ...any) error {
	if err := p.out.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(p.Stderr, "log_capturer tail: "+format+"\n", args...)
	return nil
}

// levelColors are those of lines by their level, as numbers of SGR: red, yellow
// and faint.
var levelColors = map[string]int{"fatal": 31, "error": 31, "warn": 33, "debug": 2, "trace": 2}

// The colours of containers, as numbers of SGR: those that are readable on
// light and on dark.
var containerColors = []int{36, 32, 35, 33, 34, 96, 92, 95, 93, 94}

func (p *tailPrinter) printText(line server.TailLine) error {
	text := line.Line
	if line.Raw != nil {
		text = string(line.Raw)
	}
	if p.terminal {
		// A container must not get at the terminal by what it logs.
		text = printable(text)
	}
	mark := "|"
	if line.Stream == "stderr" {
		mark = "!"
	}
	from := cmp.Or(line.Container, line.File)
	prefix := fmt.Sprintf("%s %s %s", line.Time.Local().Format("15:04:05.000"), printable(from), mark)
	if !p.color {
		_, err := fmt.Fprintf(p.out, "%s %s\n", prefix, text)
		return err
	}
	h := fnv.New32a()
	_, _ = io.WriteString(h, from) // never fails
	color := containerColors[h.Sum32()%uint32(len(containerColors))]
	shade := levelColors[line.Level]
	if line.Level == "" && line.Stream == "stderr" {
		shade = 31
	}
	if shade != 0 {
		text = fmt.Sprintf("\x1b[%dm%s\x1b[0m", shade, text)
	}
	_, err := fmt.Fprintf(p.out, "\x1b[%dm%s\x1b[0m %s\n", color, prefix, text)
	return err
}
