package cli

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"log_capturer/internal/config"
	"log_capturer/internal/pipeline"
	"log_capturer/internal/record"
	"log_capturer/internal/spelling"
)

const explainUsage = `Usage: log_capturer explain --config FILE [FLAGS]

Takes each line of the standard input through a pipeline, and shows stage by
stage what changes. Without --pipeline it is the one that the container selects,
which the other flags describe.

  --config FILE      the configuration, in YAML
  --pipeline NAME    the pipeline
  --container NAME   the container's name
  --image IMAGE      the image that it was made from
  --service SERVICE  its Compose service
  --label KEY=VALUE  one of its labels; may be given several times
  --stream STREAM    stdout or stderr; stdout when it is not given

Exit codes: 0 done, 1 failure, 2 wrong usage, 3 invalid configuration.
`

// maxExplainedLine is the longest line of the standard input, in bytes.
const maxExplainedLine = 16 << 20

// labelFlags are labels of the command line.
type labelFlags map[string]string

func (l labelFlags) String() string { return "" }

func (l labelFlags) Set(text string) error {
	key, value, ok := strings.Cut(text, "=")
	if !ok || key == "" {
		return errors.New("want KEY=VALUE")
	}
	l[key] = value
	return nil
}

// explain shows what the stages of a pipeline do to lines.
func explain(_ context.Context, c *call) int {
	var file, name, stream string
	src := &record.Source{Key: "container/explained", Host: "localhost", Labels: map[string]string{}}
	_, code, ok := c.parseFlags(0, func(flags *flag.FlagSet) {
		flags.StringVar(&file, "config", "", "")
		flags.StringVar(&name, "pipeline", "", "")
		flags.StringVar(&src.ContainerName, "container", "", "")
		flags.StringVar(&src.Image, "image", "", "")
		flags.StringVar(&src.ComposeService, "service", "", "")
		flags.Var(labelFlags(src.Labels), "label", "")
		flags.StringVar(&stream, "stream", "stdout", "")
	})
	switch {
	case !ok:
		return code
	case file == "":
		return c.usageError("--config is missing")
	case stream != "stdout" && stream != "stderr":
		return c.usageError("--stream is stdout or stderr, not %q", stream)
	}
	cfg, err := c.load(file)
	if err != nil {
		return c.configError(err)
	}
	table, err := cfg.CompilePipelines(pipeline.NewMetrics())
	if err != nil {
		return c.configError(err)
	}
	choice := table.For(src)
	for _, warning := range choice.Warnings {
		fmt.Fprintf(c.Stderr, "log_capturer: %s\n", warning)
	}
	if name != "" {
		if choice.Pipeline = table.Named(name); choice.Pipeline == nil {
			return c.usageError("%s", noPipeline(name, table))
		}
	}
	if choice.Pipeline == nil {
		return c.usageError("no pipeline selects this container; name one with --pipeline, or tell more of the container")
	}
	e := explained{w: c.Stdout, sinks: sinkNames(cfg), source: src, choice: choice}
	if stream == "stderr" {
		e.stream = record.Stderr
	}
	if err := e.lines(c.Stdin); err != nil {
		return c.failure(ExitFailure, err)
	}
	return ExitOK
}

// noPipeline says that there is no pipeline of a name.
func noPipeline(name string, table *pipeline.Table) string {
	message := fmt.Sprintf("there is no pipeline %q", name)
	if near, ok := spelling.Nearest(name, table.Names()); ok {
		return message + fmt.Sprintf("; did you mean %q?", near)
	}
	if len(table.Names()) == 0 {
		return message + "; the configuration has none"
	}
	return message + "; there are " + strings.Join(table.Names(), ", ")
}

func sinkNames(cfg *config.Config) []string {
	names := make([]string, len(cfg.Sinks))
	for i, s := range cfg.Sinks {
		names[i] = s.Name
	}
	return names
}

// explained takes lines through a pipeline.
type explained struct {
	w      io.Writer
	sinks  []string
	source *record.Source
	stream record.Stream
	choice pipeline.Choice
}

func (x *explained) lines(r io.Reader) error {
	explainer := pipeline.NewExplainer(x.w, x.choice.Pipeline, x.sinks)
	run := x.choice.Pipeline.Open(x.source, func(e *pipeline.Event) {
		fmt.Fprintln(x.w, "  comes out as")
		for line := range strings.Lines(pipeline.Describe(e, x.sinks)) {
			fmt.Fprint(x.w, "     ", line)
		}
	}, explainer.Observer())
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, maxExplainedLine)
	number := uint64(0)
	for scanner.Scan() {
		number++
		fmt.Fprintf(x.w, "line %d\n", number)
		now := time.Now().UnixNano()
		run.Process(&pipeline.Event{
			Source: x.source, Stream: x.stream, Line: scanner.Bytes(), Time: now, Captured: now, Sinks: x.choice.Sinks, After: record.Anchor{Seq: number},
		})
		explainer.Held()
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("read the standard input: %w", err)
	}
	if run.Holds() {
		fmt.Fprintln(x.w, "the end")
		run.Close()
	}
	return nil
}
