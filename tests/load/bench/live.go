package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"log_capturer/internal/testkit/scrape"
)

// live is an agent beside containers that run.
type live struct {
	agent, endpoint *process
	url, metrics    string
}

// observe starts our agent on a group, and the endpoint.
func (r *rig) observe(ctx context.Context, g *group, j job) (*live, error) {
	return r.observeWith(ctx, g, r.own, j)
}

// observeWith starts an agent on a group, and the endpoint.
func (r *rig) observeWith(ctx context.Context, g *group, command func(job) ([]string, error), j job) (*live, error) {
	l := &live{}
	var err error
	if l.endpoint, l.url, err = startEndpoint(ctx, r.self, r.dir, true); err != nil {
		return nil, err
	}
	if j.dir, err = os.MkdirTemp(r.dir, "agent-"); err != nil {
		return nil, err
	}
	j.endpoint, j.label = l.url, g.label
	if j.metrics, err = freePort(); err != nil {
		return nil, err
	}
	l.metrics = "http://" + j.metrics + "/metrics"
	if j.files, err = g.logs(ctx); err != nil {
		return nil, err
	}
	argv, err := command(j)
	if err != nil {
		return nil, err
	}
	if l.agent, err = start(j.dir, argv); err != nil {
		return nil, err
	}
	return l, nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (l *live) stop() {
	_, _ = l.agent.stop()
	_, _ = l.endpoint.stop()
}

// metric returns the sum of a metric of the agent.
func (l *live) metric(ctx context.Context, name string) (float64, error) {
	samples, err := scrape.Get(ctx, http.DefaultClient, l.metrics)
	if err != nil {
		return 0, err
	}
	value, ok := samples.Sum(name)
	if !ok {
		return 0, fmt.Errorf("the agent has no metric %s", name)
	}
	return value, nil
}

// over measures the share of a core that a process takes over a time.
func over(ctx context.Context, pid int, d time.Duration) (share float64, err error) {
	before, err := cpuOf(pid)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := sleepUntil(ctx, begin.Add(d)); err != nil {
		return 0, err
	}
	after, err := cpuOf(pid)
	return (after - before).Seconds() / time.Since(begin).Seconds(), err
}

// steady measures the agent with each way to fill a push of Loki's: a stream that
// is refused would go unseen in a push of several, so that one is the default. The
// other agents that are on the PATH follow.
func steady(ctx context.Context, r *rig) error {
	fmt.Fprintln(r.out, `| agent | lines/s | requests/s | share of a core | peak memory | from write p50 | p99 | from the engine's time p50 | p99 | p99.9 |
|---|---|---|---|---|---|---|---|---|---|`)
	if err := steadyWith(ctx, r, "log_capturer, one stream in a push (the default)", r.own); err != nil {
		return err
	}
	if err := steadyWith(ctx, r, "log_capturer, any number", func(j job) ([]string, error) {
		j.sink = []string{"    streams_per_push: 0"}
		return r.own(j)
	}); err != nil {
		return err
	}
	for _, c := range contenders {
		binary := c.find()
		if binary == "" {
			continue
		}
		if err := steadyWith(ctx, r, c.name, func(j job) ([]string, error) { return c.command(binary, j) }); err != nil {
			return err
		}
	}
	return nil
}

// steadyWith measures one agent.
func steadyWith(ctx context.Context, r *rig, name string, command func(job) ([]string, error)) error {
	row, err := r.steadyRow(ctx, command)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Fprintf(r.out, "| %s | %s |\n", name, strings.Join(row, " | "))
	return nil
}

// steadyRow returns what an agent came to.
func (r *rig) steadyRow(ctx context.Context, command func(job) ([]string, error)) ([]string, error) {
	// To wake up for every line would take the containers more than all else here
	// takes together, and the delays would be those of a machine that is busy.
	const containers, rate, burst = 50, 200, 10
	r.progress("starting %d containers", containers)
	g, err := r.run(ctx, containers, "", "-rate", strconv.Itoa(rate), "-burst", strconv.Itoa(burst), "-endless")
	if err != nil {
		return nil, err
	}
	defer g.remove()
	paths, err := g.logs(ctx)
	if err != nil {
		return nil, err
	}
	l, err := r.observeWith(ctx, g, command, job{transport: "file", pprof: r.opts.pprof})
	if err != nil {
		return nil, err
	}
	defer l.stop()
	if err := sleepUntil(ctx, time.Now().Add(15*time.Second)); err != nil {
		return nil, err
	}
	pid := l.agent.cmd.Process.Pid
	// What it took to catch up with the containers is not the steady rate's.
	if err := forgetPeak(pid); err != nil {
		return nil, err
	}
	before, err := fetchCounts(ctx, l.url)
	if err != nil {
		return nil, err
	}
	share, err := over(ctx, pid, time.Duration(r.opts.seconds)*time.Second)
	if err != nil {
		return nil, err
	}
	after, err := fetchCounts(ctx, l.url)
	if err != nil {
		return nil, err
	}
	_, peak, err := memoryOf(pid)
	if err != nil {
		return nil, err
	}
	if err := g.end(ctx); err != nil {
		return nil, err
	}
	r.progress("the containers have ended; counting")
	want, err := countLines(paths)
	if err != nil {
		return nil, err
	}
	var all counts
	for deadline := time.Now().Add(time.Minute); all.Lines < want && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if all, err = fetchCounts(ctx, l.url); err != nil {
			return nil, err
		}
	}
	if all.Lines != want {
		return nil, fmt.Errorf("%d lines arrived, written were %d", all.Lines, want)
	}
	seconds := float64(r.opts.seconds)
	row := []string{
		fmt.Sprintf("%.0f", float64(after.Lines-before.Lines)/seconds),
		fmt.Sprintf("%.0f", float64(after.Requests-before.Requests)/seconds),
		fmt.Sprintf("%.2f %%", 100*share), mib(peak),
	}
	written, stamped := after.Written.since(before.Written), after.Stamped.since(before.Stamped)
	for _, p := range []time.Duration{
		written.percentile(0.5), written.percentile(0.99),
		stamped.percentile(0.5), stamped.percentile(0.99), stamped.percentile(0.999),
	} {
		text := "-"
		if p > 0 {
			text = p.String()
		}
		row = append(row, text)
	}
	return row, nil
}

// countLines returns how many lines files hold together.
func countLines(paths []string) (int64, error) {
	var lines int64
	buf := make([]byte, 1<<20)
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return 0, err
		}
		for err == nil {
			var n int
			n, err = f.Read(buf)
			lines += int64(bytes.Count(buf[:n], []byte{'\n'}))
		}
		f.Close()
		if !errors.Is(err, io.EOF) {
			return 0, err
		}
	}
	return lines, nil
}

func idle(ctx context.Context, r *rig) error {
	const containers = 500
	r.progress("starting %d containers", containers)
	g, err := r.run(ctx, containers, "", "-lines", "1", "-hold")
	if err != nil {
		return err
	}
	defer func() {
		r.progress("removing them")
		g.remove()
	}()
	l, err := r.observe(ctx, g, job{transport: "file", pprof: r.opts.pprof})
	if err != nil {
		return err
	}
	defer l.stop()
	if err := awaitLines(ctx, l.url, containers, 2*time.Minute); err != nil {
		return err
	}
	if err := sleepUntil(ctx, time.Now().Add(30*time.Second)); err != nil {
		return err
	}
	share, err := over(ctx, l.agent.cmd.Process.Pid, time.Duration(r.opts.seconds)*time.Second)
	if err != nil {
		return err
	}
	now, peak, err := memoryOf(l.agent.cmd.Process.Pid)
	if err != nil {
		return err
	}
	goroutines, err := l.metric(ctx, "log_capturer_goroutines")
	if err != nil {
		return err
	}
	fmt.Fprintf(r.out, "| share of a core | memory | peak | goroutines |\n|---|---|---|---|\n| %.2f %% | %s | %s | %.0f |\n",
		100*share, mib(now), mib(peak), goroutines)
	return nil
}
