package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"time"
)

// monitorOptions are the options of monitor.
type monitorOptions struct {
	duration, interval, settle     time.Duration
	api, metrics, countsDir, files string
}

func (o *monitorOptions) flags(output io.Writer) *flag.FlagSet {
	f := flag.NewFlagSet("monitor", flag.ContinueOnError)
	f.SetOutput(output)
	f.DurationVar(&o.duration, "duration", time.Hour, "how long to watch; the first fifth is the warm-up")
	f.DurationVar(&o.interval, "interval", 0, "time between samples (by default a 120th of the duration, from 500ms to 30s)")
	f.DurationVar(&o.settle, "settle", time.Minute, "how long the last lines may take to arrive")
	f.StringVar(&o.api, "api", "http://127.0.0.1:8401", "base `URL` of the agent's API")
	f.StringVar(&o.metrics, "metrics", "http://127.0.0.1:8001/metrics", "`URL` of the agent's metrics")
	f.StringVar(&o.countsDir, "counts-dir", defaultCountsDir(), "`directory` of the containers' count files, as given to spawn")
	f.StringVar(&o.files, "files", "", "`directory` of the files that the agent writes (by default its data_dir)")
	f.Usage = func() {
		fmt.Fprint(output, `Watches a running agent, prints a line for each sample, and ends with a table of
criteria. The exit status is 1 when any of them fails.

`)
		f.PrintDefaults()
	}
	return f
}

// period returns the time between samples.
func (o *monitorOptions) period() time.Duration {
	if o.interval > 0 {
		return o.interval
	}
	return min(max(o.duration/120, 500*time.Millisecond), 30*time.Second)
}

// monitor watches the agent and judges it. An interrupt ends the watching
// early, with the verdict on what was seen.
func monitor(ctx context.Context, o monitorOptions, stdout io.Writer) error {
	s := newSampler(o)
	st, err := s.status(ctx)
	if err != nil {
		return fmt.Errorf("%w\nIs the agent running, and its API at %s (--api)?", err, o.api)
	}
	fmt.Fprintf(stdout, "agent %s, process %d, data in %s; watching for %v, a sample every %v\n",
		st.Version, st.PID, st.DataDir, o.duration, o.period())
	samples := watch(ctx, s, o, stdout)

	// The verdict on the lines is wanted after an interrupt too.
	ctx = context.WithoutCancel(ctx)
	var lines lineVerdict
	if st.hasLocalFile() || o.files != "" {
		if o.files == "" {
			o.files = st.DataDir
		}
		lines = countFilesLines(o)
	} else {
		lines = countMetricLines(ctx, s, o, samples)
	}
	fmt.Fprintln(stdout)
	if !printTable(stdout, judge(samples, lines)) {
		fmt.Fprintln(stdout, "\nFAIL")
		return errVerdict
	}
	fmt.Fprintln(stdout, "\nPASS")
	return nil
}

// watch takes samples until the time is over.
func watch(ctx context.Context, s *sampler, o monitorOptions, stdout io.Writer) []sample {
	begin := time.Now()
	ticker := time.NewTicker(o.period())
	defer ticker.Stop()
	end := time.After(o.duration)
	var samples []sample
	take := func() {
		// A sample is taken whole, even when it is the last.
		now := s.take(context.WithoutCancel(ctx))
		samples = append(samples, now)
		fmt.Fprintln(stdout, now.line(begin))
	}
	for take(); ; take() {
		select {
		case <-ticker.C:
		case <-end:
			take()
			return samples
		case <-ctx.Done():
			take()
			return samples
		}
	}
}

// line returns the sample as a line of progress.
func (s *sample) line(begin time.Time) string {
	head := fmt.Sprintf("%s %8s", s.at.Format("15:04:05"), "+"+s.at.Sub(begin).Round(time.Second).String())
	if s.err != nil {
		return fmt.Sprintf("%s  no answer: %v  written %d", head, s.err, s.written)
	}
	return fmt.Sprintf("%s  %-9s  goroutines %4.0f  fds %4.0f  memory %5.1f MiB  streams %.0f/%.0f  containers %.0f  rotations %.0f  written %d  acknowledged %.0f",
		head, s.health, s.goroutines, s.fds, s.memory/(1<<20), s.streams, s.capacity, s.containers, s.rotations, s.written, s.acknowledged)
}

// countFilesLines compares what was written with what is in the agent's files,
// again and again until it fits or the time to settle is over: files are written
// and rotated meanwhile.
func countFilesLines(o monitorOptions) lineVerdict {
	before, err := readWritten(o.countsDir)
	if err != nil {
		return lineVerdict{detail: err.Error()}
	}
	v := lineVerdict{written: before.total()}
	if v.written == 0 {
		v.detail = "no container of the load test has written anything to count in " + o.countsDir
		return v
	}
	for deadline, wait := time.Now().Add(o.settle), 100*time.Millisecond; ; wait *= 2 {
		report, err := tryCapture(o, before)
		if err == nil {
			v.captured, v.ok, v.detail = report.captured, report.ok, report.detail
		} else {
			v.detail = err.Error()
		}
		if v.ok || time.Now().After(deadline) {
			return v
		}
		time.Sleep(min(wait, max(time.Until(deadline), time.Millisecond)))
	}
}

// tryCapture compares once. Captured lines are those that were written before.
func tryCapture(o monitorOptions, before written) (lineVerdict, error) {
	report, err := capture(o.files, o.countsDir, before)
	if err != nil {
		return lineVerdict{}, err
	}
	// Of the lines that were written before, those that are there.
	v := lineVerdict{ok: report.OK(), captured: before.total() - min(report.Missing, before.total())}
	if v.detail = report.String(); v.ok {
		v.detail = fmt.Sprintf("each once, whole and in order, in %s", o.files)
	}
	return v, nil
}

// countMetricLines compares by the agent's metrics, where it writes no files:
// between two samples, as many records are acknowledged as lines are written.
// Containers that are not of the load test make it inexact.
func countMetricLines(ctx context.Context, s *sampler, o monitorOptions, samples []sample) lineVerdict {
	var v lineVerdict
	first := firstAnswered(samples)
	if first == nil {
		v.detail = "the agent never answered"
		return v
	}
	// What was written and not acknowledged at the first sample, and what the
	// containers write while the agent is asked.
	slack := uint64(first.containers) * 4
	for deadline := time.Now().Add(o.settle); ; time.Sleep(200 * time.Millisecond) {
		before, now := s.take(ctx), s.take(ctx)
		v.written = before.written - first.written
		v.captured = uint64(max(now.acknowledged-first.acknowledged, 0))
		v.ok = now.err == nil && v.written > 0 && v.captured+slack >= v.written && v.captured <= now.written-first.written+slack
		v.detail = fmt.Sprintf("by the agent's metrics, to within %d, since it writes no files", slack)
		if v.ok || time.Now().After(deadline) {
			return v
		}
	}
}

func firstAnswered(samples []sample) *sample {
	for i := range samples {
		if samples[i].err == nil {
			return &samples[i]
		}
	}
	return nil
}
