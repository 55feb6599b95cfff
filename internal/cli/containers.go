package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"log_capturer/internal/server"
)

const containersUsage = `Usage: log_capturer containers [--json] [--state STATE] [--api ADDRESS | --config FILE]

Lists the containers that a running agent knows, with what it does with each:
whether its log is being read and how, how far reading is behind, and how much
was read since the agent started.

  --json          print what the API answers
  --state STATE   only those in this state: reading, waiting, idle, excluded,
                  unreadable, stopped, error
` + apiUsage + `
Exit codes: 0 done, 2 wrong usage, 3 invalid configuration, 4 no agent answers.
`

// containers lists the containers of a running agent.
func containers(ctx context.Context, c *call) int {
	var where agentFlags
	var asJSON bool
	var state string
	_, code, ok := c.parseFlags(0, func(flags *flag.FlagSet) {
		where.define(flags)
		flags.BoolVar(&asJSON, "json", false, "")
		flags.StringVar(&state, "state", "", "")
	})
	if !ok {
		return code
	}
	if state != "" && !isState(state) {
		return c.usageError("there is no state %q", state)
	}
	agent, code, ok := c.connect(where)
	if !ok {
		return code
	}
	defer agent.Close()
	all, err := agent.Containers(ctx)
	if err != nil {
		return c.agentError(ctx, err)
	}
	list := []server.Container{}
	for _, container := range all {
		if state == "" || string(container.State) == state {
			list = append(list, container)
		}
	}
	if asJSON {
		return c.printJSON(list)
	}
	printContainers(c.Stdout, list, time.Now())
	return ExitOK
}

// states are all states of a container, in the order of the API.
var states = []string{
	string(server.Reading), string(server.Waiting), string(server.Idle), string(server.Excluded),
	string(server.Unreadable), string(server.Stopped), string(server.Error),
}

func isState(state string) bool {
	for _, s := range states {
		if s == state {
			return true
		}
	}
	return false
}

func printContainers(w io.Writer, list []server.Container, now time.Time) {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tID\tSTATE\tTRANSPORT\tLAG\tLINES\tBYTES\tLAST LINE\tGAPS\tREASON")
	for i := range list {
		container := &list[i]
		last := "-"
		if !container.LastLine.IsZero() {
			last = ago(now.Sub(container.LastLine))
		}
		row := []string{
			printable(container.Name), shortID(container.ID), string(container.State), cmp.Or(container.Transport, "-"),
			lagText(container.LagSeconds), count(float64(container.Lines)), bytesText(float64(container.Bytes)), last,
			count(float64(container.SuspectedGaps)), printable(container.Reason),
		}
		fmt.Fprintln(table, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	_ = table.Flush() // words for people
}

// printJSON prints a value as indented JSON.
func (c *call) printJSON(value any) int {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return c.failure(ExitFailure, fmt.Errorf("print as JSON: %w", err))
	}
	if _, err := fmt.Fprintf(c.Stdout, "%s\n", text); err != nil {
		return c.failure(ExitFailure, err)
	}
	return ExitOK
}

// shortID returns the digits of an id that people use.
func shortID(id string) string { return id[:min(len(id), 12)] }
