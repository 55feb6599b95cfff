package cli

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"log_capturer/internal/config"
	"log_capturer/internal/pipeline"
	"log_capturer/internal/record"
)

const testUsage = `Usage: log_capturer test --config FILE [TESTS...]

Holds the pipelines of a configuration to their tests, and shows the differences
of those that fail: "-" is what a test expects and "+" what came out.

  --config FILE   the configuration, in YAML
  --verbose       also name the tests that pass
  TESTS           files of tests, in YAML; without any it is the one beside the
                  configuration: agent.test.yaml for agent.yaml

Exit codes: 0 all tests pass, 1 a test fails, 2 wrong usage, 3 the configuration
or a file of tests is invalid.
`

// testPipelines holds pipelines to their tests.
func testPipelines(_ context.Context, c *call) int {
	var file string
	var verbose bool
	files, code, ok := c.parseFlags(1000, func(flags *flag.FlagSet) {
		flags.StringVar(&file, "config", "", "")
		flags.BoolVar(&verbose, "verbose", false, "")
	})
	if !ok {
		return code
	}
	if file == "" {
		return c.usageError("--config is missing")
	}
	cfg, err := c.load(file)
	if err != nil {
		return c.configError(err)
	}
	if len(files) == 0 {
		files = []string{strings.TrimSuffix(file, filepath.Ext(file)) + ".test.yaml"}
	}
	total, failed := 0, 0
	for _, name := range files {
		tests, err := cfg.LoadPipelineTests(name)
		if err != nil {
			return c.configError(err)
		}
		for i := range tests.Tests {
			t := &tests.Tests[i]
			problem, err := runPipelineTest(cfg, t)
			if err != nil {
				return c.configError(err)
			}
			total++
			switch {
			case problem != "":
				failed++
				fmt.Fprintf(c.Stdout, "FAIL %s: %s\n%s", name, t.Name, problem)
			case verbose:
				fmt.Fprintf(c.Stdout, "ok   %s: %s\n", name, t.Name)
			}
		}
	}
	if failed > 0 {
		fmt.Fprintf(c.Stdout, "%d of %d tests fail\n", failed, total)
		return ExitFailure
	}
	noun := "tests pass"
	if total == 1 {
		noun = "test passes"
	}
	fmt.Fprintf(c.Stdout, "%d %s\n", total, noun)
	return ExitOK
}

// testStart is the time of a test's first line.
var testStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// testSource returns the source of a test's lines.
func testSource(s config.TestSource) *record.Source {
	src := &record.Source{
		Key: "container/test", Host: "localhost", ContainerID: strings.Repeat("0", 64), ContainerName: s.Container,
		Image: s.Image, ComposeProject: s.ComposeProject, ComposeService: s.ComposeService, Labels: s.Labels,
	}
	if s.File != "" {
		src.Key, src.FilePath = "file/"+s.File, s.File
	}
	return src
}

// runPipelineTest runs a test, and returns what is different.
func runPipelineTest(cfg *config.Config, t *config.PipelineTest) (string, error) {
	// Each test has its own metrics, so that none sees what another dropped.
	metrics := pipeline.NewMetrics()
	table, err := cfg.CompilePipelines(metrics)
	if err != nil {
		return "", err
	}
	src := testSource(t.Source)
	choice := table.For(src)
	if t.Pipeline != "" {
		choice.Pipeline = table.Named(t.Pipeline)
	}
	if choice.Pipeline == nil {
		return "  no pipeline selects this source\n", nil
	}
	sinks := sinkNames(cfg)
	var got []string
	run := choice.Pipeline.Open(src, func(e *pipeline.Event) {
		var expected *config.TestRecord
		if len(got) < len(t.Expect) {
			expected = &t.Expect[len(got)]
		}
		got = append(got, compared(e, expected, sinks))
	}, nil)
	now := testStart
	for i, line := range t.Input {
		if line.Time != "" {
			if now, err = time.Parse(time.RFC3339Nano, line.Time); err != nil {
				return "", err
			}
		}
		stream := record.Stdout
		if line.Stream == "stderr" {
			stream = record.Stderr
		}
		run.Process(&pipeline.Event{
			Source: src, Stream: stream, Line: []byte(line.Line), Time: now.UnixNano(), Captured: now.UnixNano(),
			Sinks: choice.Sinks, After: record.Anchor{Seq: uint64(i) + 1},
		})
		now = now.Add(time.Second)
	}
	run.Close()
	var want []string
	for i := range t.Expect {
		want = append(want, expectation(&t.Expect[i]))
	}
	var b strings.Builder
	if !slices.Equal(got, want) {
		differences(&b, strings.Split(strings.Join(want, ""), "\n"), strings.Split(strings.Join(got, ""), "\n"))
	}
	if t.Dropped != nil {
		dropped := map[string]string{}
		for key, n := range metrics.Dropped() {
			before, _ := strconv.ParseUint(dropped[key[1]], 10, 64) // empty is none
			dropped[key[1]] = strconv.FormatUint(before+n, 10)
		}
		if !maps.Equal(dropped, t.Dropped) {
			differences(&b, section("dropped", "", t.Dropped), section("dropped", "", dropped))
		}
	}
	return b.String(), nil
}

// compared returns of an event what a test compares. A record that was not
// expected is shown whole.
func compared(e *pipeline.Event, expected *config.TestRecord, sinks []string) string {
	text, level := string(e.Line), e.Level.String()
	at := time.Unix(0, e.Time).UTC().Format(time.RFC3339Nano)
	r := &config.TestRecord{
		Line: &text, Time: &at, Level: &level, Records: &e.Count, Fields: map[string]string{}, Labels: map[string]string{},
		Sinks: e.Sinks.Names(sinks),
	}
	for _, f := range e.Fields {
		r.Fields[f.Name] = f.Value.Text
	}
	for _, l := range e.Labels {
		r.Labels[l.Name] = l.Value
	}
	if expected != nil {
		if expected.Line == nil {
			r.Line = nil
		}
		if expected.Time == nil {
			r.Time = nil
		}
		if expected.Level == nil {
			r.Level = nil
		}
		if expected.Records == nil {
			r.Records = nil
		}
		if expected.Fields == nil {
			r.Fields = nil
		}
		if expected.Labels == nil {
			r.Labels = nil
		}
		if expected.Sinks == nil {
			r.Sinks = nil
		}
	}
	return expectation(r)
}

// expectation returns a record as lines that can be compared.
func expectation(r *config.TestRecord) string {
	lines := []string{"record"}
	add := func(key string, text *string) {
		if text != nil {
			lines = append(lines, "  "+key+": "+visible(*text))
		}
	}
	add("line", r.Line)
	add("time", r.Time)
	add("level", r.Level)
	if r.Records != nil {
		lines = append(lines, "  records: "+strconv.Itoa(*r.Records))
	}
	if r.Sinks != nil {
		lines = append(lines, "  sinks: "+strings.Join(slices.Sorted(slices.Values(r.Sinks)), ", "))
	}
	if r.Fields != nil {
		lines = append(lines, section("fields", "  ", r.Fields)...)
	}
	if r.Labels != nil {
		lines = append(lines, section("labels", "  ", r.Labels)...)
	}
	return strings.Join(lines, "\n") + "\n"
}

func section(name, margin string, values map[string]string) []string {
	lines := []string{margin + name + ":"}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		lines = append(lines, margin+"  "+key+": "+visible(values[key]))
	}
	return lines
}

// visible returns a text on one line.
func visible(text string) string {
	if text == "" || strings.TrimSpace(text) != text || strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}

// maxCompared is the largest number of lines whose differences are worked out.
const maxCompared = 4000

// differences writes the lines of both texts, with those marked that only one
// of them has. It finds the longest lines in common.
func differences(w io.Writer, want, got []string) {
	if len(want) > maxCompared || len(got) > maxCompared {
		want, got = want[:min(len(want), maxCompared)], got[:min(len(got), maxCompared)]
		fmt.Fprintf(w, "  (the first %d lines)\n", maxCompared)
	}
	// common[i][j] is the number of common lines of want[i:] and got[j:].
	common := make([][]int, len(want)+1)
	for i := range common {
		common[i] = make([]int, len(got)+1)
	}
	for i := len(want) - 1; i >= 0; i-- {
		for j := len(got) - 1; j >= 0; j-- {
			if want[i] == got[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(want) || j < len(got) {
		switch {
		case i < len(want) && j < len(got) && want[i] == got[j]:
			if want[i] != "" {
				fmt.Fprintf(w, "    %s\n", want[i])
			}
			i, j = i+1, j+1
		case j == len(got) || i < len(want) && common[i+1][j] >= common[i][j+1]:
			if want[i] != "" {
				fmt.Fprintf(w, "  - %s\n", want[i])
			}
			i++
		default:
			if got[j] != "" {
				fmt.Fprintf(w, "  + %s\n", got[j])
			}
			j++
		}
	}
}
