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
	"time"

	"log_capturer/internal/testkit/scrape"
)

// live is our agent beside containers that run.
type live struct {
	agent, endpoint *process
	url, metrics    string
}

// observe starts the agent on a group, and the endpoint.
func (r *rig) observe(ctx context.Context, g *group, j job) (*live, error) {
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
	argv, err := r.own(j)
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
// is refused would go unseen in a push of several, so that one is the default.
func steady(ctx context.Context, r *rig) error {
	fmt.Fprintln(r.out, "| streams in a push | lines/s | pushes/s | share of a core | peak memory | delay p50 | p99 | p99.9 |\n|---|---|---|---|---|---|---|---|")
	for _, way := range []struct{ name, option string }{{"one (the default)", "1"}, {"any number", "0"}} {
		if err := steadyWith(ctx, r, way.name, "    streams_per_push: "+way.option); err != nil {
			return fmt.Errorf("with %s: %w", way.name, err)
		}
	}
	return nil
}

func steadyWith(ctx context.Context, r *rig, name, option string) error {
	const containers, rate = 50, 200
	r.progress("starting %d containers", containers)
	g, err := r.run(ctx, containers, "", "-rate", strconv.Itoa(rate), "-endless")
	if err != nil {
		return err
	}
	defer g.remove()
	paths, err := g.logs(ctx)
	if err != nil {
		return err
	}
	l, err := r.observe(ctx, g, job{transport: "file", pprof: r.opts.pprof, sink: []string{option}})
	if err != nil {
		return err
	}
	defer l.stop()
	if err := sleepUntil(ctx, time.Now().Add(15*time.Second)); err != nil {
		return err
	}
	pid := l.agent.cmd.Process.Pid
	// What it took to catch up with the containers is not the steady rate's.
	if err := forgetPeak(pid); err != nil {
		return err
	}
	before, err := fetchCounts(ctx, l.url)
	if err != nil {
		return err
	}
	share, err := over(ctx, pid, time.Duration(r.opts.seconds)*time.Second)
	if err != nil {
		return err
	}
	after, err := fetchCounts(ctx, l.url)
	if err != nil {
		return err
	}
	_, peak, err := memoryOf(pid)
	if err != nil {
		return err
	}
	for i, n := range before.Delays {
		after.Delays[i] -= n
	}
	if err := g.end(ctx); err != nil {
		return err
	}
	r.progress("the containers have ended; counting")
	want, err := countLines(paths)
	if err != nil {
		return err
	}
	var all counts
	for deadline := time.Now().Add(time.Minute); all.Lines < want && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if all, err = fetchCounts(ctx, l.url); err != nil {
			return err
		}
	}
	if all.Lines != want {
		return fmt.Errorf("%d lines arrived, written were %d", all.Lines, want)
	}
	seconds := float64(r.opts.seconds)
	fmt.Fprintf(r.out, "| %s | %.0f | %.0f | %.2f %% | %s | %v | %v | %v |\n", name,
		float64(after.Lines-before.Lines)/seconds, float64(after.Requests-before.Requests)/seconds, 100*share, mib(peak),
		after.percentile(0.5), after.percentile(0.99), after.percentile(0.999))
	return nil
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
