package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"

	"log_capturer/internal/planted"
)

// control is an agent with a planted fault, and what the lab must say of it.
type control struct {
	// fault is the fault, "" for an agent without one: it must pass, or the
	// scenario would fail every agent.
	fault string
	// scenario is one of those in the folder controls.
	scenario string
	// found are the criteria that must fail, each with what its row must say.
	found []finding
}

type finding struct{ criterion, says string }

var controls = []control{
	{"", "rotation", nil},
	{"", "stuck", nil},
	{"", "silence", nil},
	{"", "kill", nil},
	{"", "lines", nil},
	{planted.AbandonedStream, "rotation", []finding{{critGoroutines, "; stream +"}, {critFDs, "; socket +"}, {critSteady, "goroutines of stream "}}},
	{planted.ClientPerCall, "rotation", []finding{{critGoroutines, "; discovery +"}, {critFDs, "; socket +"}, {critSteady, "goroutines of discovery "}}},
	{planted.HeartbeatOutlives, "rotation", []finding{{critGoroutines, "; heartbeat +"}, {critSteady, "goroutines of heartbeat "}}},
	{planted.OneWaitGroup, "stuck", []finding{{critOverdue, "; stream "}, {critRotations, ""}}},
	{planted.UnclosedBody, "silence", []finding{{critGoroutines, "; heartbeat +"}, {critFDs, "; socket +"}, {critSteady, "goroutines of heartbeat "}}},
	{planted.TimerNotStopped, "rotation", []finding{{critHeap, "MiB/min"}, {critSteady, "heap "}}},
	{planted.CursorBeforeDelivery, "kill", []finding{{critLines, " missing"}}},
	{planted.DroppedLine, "lines", []finding{{critLines, " missing"}}},
	{planted.RepeatedLine, "lines", []finding{{critLines, " repeated"}}},
}

func (c control) name() string {
	if c.fault == "" {
		return "no-fault-" + c.scenario
	}
	return c.fault
}

//go:embed controls/*.yaml
var controlFiles embed.FS

// load returns the control's scenario under the control's own name.
func (c control) load() (*scenario, error) {
	text, err := controlFiles.ReadFile("controls/" + c.scenario + ".yaml")
	if err != nil {
		return nil, err
	}
	return parseScenario(c.name(), text)
}

// controlOptions are the options of controls.
type controlOptions struct {
	parallel int
	out      string
	names    []string
}

func (o *controlOptions) flags(output io.Writer) *flag.FlagSet {
	f := flag.NewFlagSet("controls", flag.ContinueOnError)
	f.SetOutput(output)
	f.IntVar(&o.parallel, "parallel", 3, "`number` of controls that run at once")
	f.StringVar(&o.out, "out", "lab-results/controls", "`directory` for samples, reports and the agents' logs")
	f.Usage = func() {
		var names []string
		for _, c := range controls {
			names = append(names, c.name())
		}
		fmt.Fprintf(output, `Usage: lab controls [OPTIONS] [NAME...]

Runs agents that were built with a planted fault, each of which the lab must fail
by the right criterion, and agents without one, which must pass. The exit status
is 1 when a fault was not found out, or one was found where none is. Without a
NAME all are run: %s.

`, strings.Join(names, ", "))
		f.PrintDefaults()
	}
	return f
}

// controlResult is what came of a control.
type controlResult struct {
	control control
	ok      bool
	says    string
	outcome *outcome
}

// runControls carries out the command.
func runControls(ctx context.Context, o controlOptions, stdout io.Writer) error {
	var chosen []control
	for _, c := range controls {
		if len(o.names) == 0 || slices.Contains(o.names, c.name()) {
			chosen = append(chosen, c)
		}
	}
	if len(chosen) == 0 || len(o.names) > len(chosen) {
		return errors.New("there is no such control; see lab controls --help")
	}
	results := make([]controlResult, len(chosen))
	numbers := make(chan int)
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range max(1, o.parallel) {
		wg.Go(func() {
			for i := range numbers {
				results[i] = runControl(ctx, chosen[i], o.out)
				if !results[i].ok && ctx.Err() == nil {
					// A machine that was busy with other things may have left the
					// agent without a turn. A defect is there the second time too.
					first := results[i].says
					results[i] = runControl(ctx, chosen[i], o.out)
					results[i].says += " (at the second try; at the first: " + first + ")"
				}
				mu.Lock()
				fmt.Fprintf(stdout, "%s: %s\n", chosen[i].name(), results[i].says)
				mu.Unlock()
			}
		})
	}
	for i := range chosen {
		numbers <- i
	}
	close(numbers)
	wg.Wait()
	fmt.Fprintln(stdout)
	ok := printControls(stdout, results)
	if err := os.WriteFile(filepath.Join(o.out, "controls.md"), []byte(controlsReport(ctx, results)), 0o644); err != nil {
		return err
	}
	if !ok {
		fmt.Fprintln(stdout, "\nFAIL: a control that fails is a defect of the lab, or of the agent")
		return errVerdict
	}
	fmt.Fprintln(stdout, "\nPASS")
	return nil
}

// runControl runs one control, and judges the lab by it. The progress of the run
// goes to a file.
func runControl(ctx context.Context, c control, out string) controlResult {
	r := controlResult{control: c}
	s, err := c.load()
	if err == nil {
		err = os.MkdirAll(out, 0o755)
	}
	if err != nil {
		r.says = err.Error()
		return r
	}
	progress, err := os.Create(filepath.Join(out, c.name()+".log"))
	if err != nil {
		r.says = err.Error()
		return r
	}
	defer progress.Close()
	tags := ""
	if c.fault != "" {
		tags = "planted_" + c.fault
	}
	var rows []row
	r.outcome, rows, err = runScenario(ctx, s, runOptions{out: out, tags: tags}, progress)
	if err != nil {
		r.says = "it did not run: " + err.Error()
		return r
	}
	r.ok, r.says = c.judge(rows)
	return r
}

// judge reports whether the table says what it must.
func (c control) judge(rows []row) (ok bool, says string) {
	if c.fault == "" {
		for _, r := range rows {
			if !r.pass {
				return false, fmt.Sprintf("NOT CLEAN: there is no fault, and the lab fails %s: %s", r.criterion, r.got)
			}
		}
		return true, "passes, as it must"
	}
	var told []string
	for _, f := range c.found {
		i := slices.IndexFunc(rows, func(r row) bool { return r.criterion == f.criterion })
		switch {
		case i < 0:
			return false, fmt.Sprintf("NOT FOUND: nothing was said of %s", f.criterion)
		case rows[i].pass:
			return false, fmt.Sprintf("NOT FOUND: %s passes: %s", f.criterion, rows[i].got)
		case !strings.Contains(rows[i].got, f.says):
			return false, fmt.Sprintf("NOT NAMED: %s does not say %q: %s", f.criterion, f.says, rows[i].got)
		}
		first, _, _ := strings.Cut(rows[i].got, "\n")
		told = append(told, f.criterion+": "+first)
	}
	return true, "found: " + strings.Join(told, " | ")
}

// printControls writes the table, and reports whether all controls are good.
func printControls(w io.Writer, results []controlResult) bool {
	ok := true
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "control\tresult\tgoroutines a rotation\tFDs a rotation")
	for _, r := range results {
		verdict := "PASS"
		if !r.ok {
			verdict, ok = "FAIL", false
		}
		goroutines, fds := r.perRotation()
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", r.control.name(), verdict, goroutines, fds)
	}
	table.Flush()
	return ok
}

// perRotation returns what the agent grew by for each rotation, for a table.
func (r *controlResult) perRotation() (goroutines, fds string) {
	if r.outcome == nil {
		return "-", "-"
	}
	g, f, ok := r.outcome.perRotation()
	if !ok {
		return "-", "-"
	}
	return fmt.Sprintf("%+.2f", g), fmt.Sprintf("%+.2f", f)
}

// controlsReport returns the table as Markdown.
func controlsReport(ctx context.Context, results []controlResult) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Controls, commit %s\n\n| control | goroutines a rotation | file descriptors a rotation | result |\n|---|---|---|---|\n", commit(ctx))
	for _, r := range results {
		goroutines, fds := r.perRotation()
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.control.name(), goroutines, fds, cell(r.says))
	}
	return b.String()
}
