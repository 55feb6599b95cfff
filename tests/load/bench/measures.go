package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// measure is a figure, or some that belong together.
type measure struct {
	name, what string
	run        func(ctx context.Context, r *rig) error
}

var measures = []measure{
	{"catchup-file", "lines per CPU-second of the agent that reads files from their beginning", func(ctx context.Context, r *rig) error { return r.catchUp(ctx, "file") }},
	{"catchup-api", "the same over the engine's API, and what that costs the engine", func(ctx context.Context, r *rig) error { return r.catchUp(ctx, "api") }},
	{"compare", "catching up, beside the other agents that are on the PATH", compare},
	{"steady", "10,000 lines a second over 50 containers", steady},
	{"idle", "500 containers that write nothing", idle},
	{"api-rotation", "what opening a stream of a log of 150 MB again costs the engine", apiRotation},
	{"scale", "cost of a line at 1, 10, 100 and 1000 containers", scale},
}

// caught is what a catch-up came to.
type caught struct {
	lines  int
	wall   time.Duration
	used   usage
	engine time.Duration // processor time of the engine meanwhile
	counts counts
}

func (c caught) perCPU() float64 { return float64(c.lines) / c.used.cpu.Seconds() }

// chase lets an agent bring the lines of a group to the endpoint, and measures it
// from its start to its end. It fails unless exactly lines lines arrive, and, for
// an agent that is started again, none comes a second time.
func (r *rig) chase(ctx context.Context, g *group, lines int, command func(job) ([]string, error), j job) (caught, error) {
	c := caught{lines: lines}
	endpoint, url, err := startEndpoint(ctx, r.self, r.dir, false)
	if err != nil {
		return c, err
	}
	defer endpoint.stop()
	j.dir, err = os.MkdirTemp(r.dir, "agent-")
	if err != nil {
		return c, err
	}
	j.endpoint, j.label = url, g.label
	if j.files, err = g.logs(ctx); err != nil {
		return c, err
	}
	argv, err := command(j)
	if err != nil {
		return c, err
	}
	engineBefore, err := engineCPU()
	if err != nil {
		return c, err
	}
	begin := time.Now()
	agent, err := start(j.dir, argv)
	if err != nil {
		return c, err
	}
	for {
		if c.counts, err = fetchCounts(ctx, url); err == nil {
			err = agent.running()
		}
		if err != nil {
			_, _ = agent.stop()
			return c, err
		}
		if c.counts.Lines >= int64(lines) {
			break
		}
		if time.Since(begin) > 10*time.Minute {
			_, _ = agent.stop()
			return c, fmt.Errorf("%d of %d lines came in 10 minutes", c.counts.Lines, lines)
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.wall = time.Since(begin)
	if c.used, err = agent.stop(); err != nil {
		return c, err
	}
	engineAfter, err := engineCPU()
	if err != nil {
		return c, err
	}
	c.engine = engineAfter - engineBefore
	// Positions were saved if the agent that is started again sends nothing.
	if agent, err = start(j.dir, argv); err != nil {
		return c, err
	}
	time.Sleep(3 * time.Second)
	if _, err := agent.stop(); err != nil {
		return c, err
	}
	if c.counts, err = fetchCounts(ctx, url); err != nil {
		return c, err
	}
	if c.counts.Lines != int64(lines) {
		return c, fmt.Errorf("%d lines arrived, written were %d", c.counts.Lines, lines)
	}
	return c, os.RemoveAll(j.dir)
}

// quietJob is a job of which nobody asks for metrics.
func (r *rig) quietJob(transport string) job {
	return job{transport: transport, metrics: "127.0.0.1:0", pprof: r.opts.pprof}
}

// own returns the command of our agent.
func (r *rig) own(j job) ([]string, error) { return logCapturer(r.agent, j) }

// engineCPU returns the processor time of the engine, which its PID file names.
func engineCPU() (time.Duration, error) {
	text, err := os.ReadFile("/var/run/docker.pid")
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, err
	}
	return cpuOf(pid)
}

func mib(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

func (r *rig) catchUp(ctx context.Context, transport string) error {
	g, err := r.corpus(ctx, r.opts.files, r.opts.lines/r.opts.files)
	if err != nil {
		return err
	}
	defer g.release()
	fmt.Fprintln(r.out, "| lines per CPU-s | CPU | wall | peak memory | lines a request | engine's CPU |\n|---|---|---|---|---|---|")
	var all []float64
	for range r.opts.rounds {
		c, err := r.chase(ctx, g, r.opts.lines, r.own, r.quietJob(transport))
		if err != nil {
			return err
		}
		all = append(all, c.perCPU())
		fmt.Fprintf(r.out, "| %.0f | %v | %v | %s | %d | %v |\n", c.perCPU(), c.used.cpu.Round(time.Millisecond),
			c.wall.Round(time.Millisecond), mib(c.used.peak), c.counts.Lines/c.counts.Requests, c.engine)
	}
	fmt.Fprintf(r.out, "\nmedian: %.0f lines per CPU-s\n", median(all))
	return nil
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

// compare runs ours and each other agent in turn, round by round, so that what
// else the machine does meets all of them.
func compare(ctx context.Context, r *rig) error {
	type entry struct {
		name    string
		command func(job) ([]string, error)
		rounds  []caught
	}
	all := []*entry{{name: "log_capturer", command: r.own}}
	for _, c := range contenders {
		if binary := c.find(); binary != "" {
			all = append(all, &entry{name: c.name, command: func(j job) ([]string, error) { return c.command(binary, j) }})
		}
	}
	if len(all) == 1 {
		return errors.New("no other agent is on the PATH; make bench-vlagent builds one into bin/")
	}
	g, err := r.corpus(ctx, r.opts.files, r.opts.lines/r.opts.files)
	if err != nil {
		return err
	}
	defer g.release()
	for round := range r.opts.rounds {
		for _, e := range all {
			c, err := r.chase(ctx, g, r.opts.lines, e.command, r.quietJob("file"))
			if err != nil {
				return fmt.Errorf("%s: %w", e.name, err)
			}
			r.progress("round %d, %s: %.0f lines per CPU-s", round+1, e.name, c.perCPU())
			e.rounds = append(e.rounds, c)
		}
	}
	column := func(e *entry, value func(caught) float64) float64 {
		var x []float64
		for _, c := range e.rounds {
			x = append(x, value(c))
		}
		return median(x)
	}
	cpu := func(c caught) float64 { return c.perCPU() }
	peak := func(c caught) float64 { return float64(c.used.peak) }
	wall := func(c caught) float64 { return c.wall.Seconds() }
	fmt.Fprintln(r.out, "| agent | lines per CPU-s | ratio | peak memory | ratio | wall | ratio |\n|---|---|---|---|---|---|---|")
	for _, e := range all {
		fmt.Fprintf(r.out, "| %s | %.0f | %.2f | %s | %.2f | %.2f s | %.2f |\n", e.name,
			column(e, cpu), column(all[0], cpu)/column(e, cpu),
			mib(int64(column(e, peak))), column(e, peak)/column(all[0], peak),
			column(e, wall), column(e, wall)/column(all[0], wall))
	}
	fmt.Fprintln(r.out, "\nmedians; a ratio is how many times better log_capturer is")
	return nil
}

func apiRotation(ctx context.Context, r *rig) error {
	const lines = 600_000 // of about 250 bytes as the engine keeps them
	r.progress("writing a log of 150 MB")
	g, err := r.run(ctx, 1, "", "-lines", strconv.Itoa(lines), "-hold")
	if err != nil {
		return err
	}
	defer g.remove()
	paths, err := g.logs(ctx)
	if err != nil {
		return err
	}
	if err := settled(ctx, paths[0]); err != nil {
		return err
	}
	l, err := r.observe(ctx, g, job{transport: "api", pprof: r.opts.pprof, extra: []string{"  rotation_interval: 1s"}})
	if err != nil {
		return err
	}
	defer l.stop()
	if err := awaitLines(ctx, l.url, lines, 5*time.Minute); err != nil {
		return err
	}
	size, err := os.Stat(paths[0])
	if err != nil {
		return err
	}
	if err := sleepUntil(ctx, time.Now().Add(5*time.Second)); err != nil {
		return err
	}
	engine := func() (cpu time.Duration, rotations float64, err error) {
		if rotations, err = l.metric(ctx, "log_capturer_stream_rotations_total"); err != nil {
			return 0, 0, err
		}
		cpu, err = engineCPU()
		return cpu, rotations, err
	}
	cpu, rotations, err := engine()
	if err != nil {
		return err
	}
	if err := sleepUntil(ctx, time.Now().Add(time.Duration(r.opts.seconds)*time.Second)); err != nil {
		return err
	}
	cpuAfter, rotationsAfter, err := engine()
	if err != nil {
		return err
	}
	c, err := fetchCounts(ctx, l.url)
	if err != nil {
		return err
	}
	if c.Lines != lines {
		return fmt.Errorf("%d lines arrived, written were %d", c.Lines, lines)
	}
	n := rotationsAfter - rotations
	if n < 1 {
		return errors.New("the stream was not rotated")
	}
	fmt.Fprintf(r.out, "| log | rotations | engine's CPU for each, all that it did included |\n|---|---|---|\n| %s | %.0f | %.1f ms |\n",
		mib(size.Size()), n, 1e3*(cpuAfter-cpu).Seconds()/n)
	return nil
}

// settled waits until nothing has been written to a file for a while.
func settled(ctx context.Context, path string) error {
	for size := int64(-1); ; {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if info.Size() == size {
			return nil
		}
		size = info.Size()
		if err := sleepUntil(ctx, time.Now().Add(3*time.Second)); err != nil {
			return err
		}
	}
}

func scale(ctx context.Context, r *rig) error {
	const total = 1_000_000
	fmt.Fprintln(r.out, "| containers | CPU for a million lines | peak memory |\n|---|---|---|")
	for _, n := range []int{1, 10, 100, 1000} {
		g, err := r.corpus(ctx, n, total/n)
		if err != nil {
			return err
		}
		var cpu, peak []float64
		for range r.opts.rounds {
			c, err := r.chase(ctx, g, total, r.own, r.quietJob("file"))
			if err != nil {
				g.release()
				return err
			}
			cpu, peak = append(cpu, c.used.cpu.Seconds()), append(peak, float64(c.used.peak))
		}
		g.release()
		fmt.Fprintf(r.out, "| %d | %.2f s | %s |\n", n, median(cpu), mib(int64(median(peak))))
	}
	return nil
}
