package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"log_capturer/internal/sinks/loki/lokitest"
	"log_capturer/internal/testkit/ledger"
	"log_capturer/internal/testkit/numbered"
)

// runOptions are the options of run.
type runOptions struct {
	duration time.Duration
	scale    float64
	out      string
	tags     string
	agent    string
	busy     bool
	names    []string
}

func (o *runOptions) flags(output io.Writer) *flag.FlagSet {
	f := flag.NewFlagSet("run", flag.ContinueOnError)
	f.SetOutput(output)
	f.DurationVar(&o.duration, "duration", 0, "how long, instead of what the scenario says; its times and counts follow")
	f.Float64Var(&o.scale, "scale", 0, "`factor` for the number of containers and streams, instead of 1")
	f.StringVar(&o.out, "out", "lab-results", "`directory` for samples, reports and the agent's log")
	f.StringVar(&o.tags, "tags", "", "build `tags` of the agent")
	f.StringVar(&o.agent, "agent", "", "`path` of an agent that is built already")
	f.BoolVar(&o.busy, "busy", false, "the machine does other things as well: times may be longer by "+busySlack.String()+", and a fifth of the samples not healthy")
	f.Usage = func() {
		fmt.Fprintf(output, `Usage: lab run [OPTIONS] SCENARIO...

Runs scenarios one after the other: builds the agent, starts containers that
number their lines on a real engine, counts every line at a destination, and
judges. The exit status is 1 when a criterion of any of them fails.

A SCENARIO is a name (%s) or the path of a .yaml file.

`, strings.Join(scenarioNames(), ", "))
		f.PrintDefaults()
	}
	return f
}

// runScenarios carries out the command.
func runScenarios(ctx context.Context, o runOptions, stdout io.Writer) error {
	if len(o.names) == 0 {
		return fmt.Errorf("no scenario is named; there are %s", strings.Join(scenarioNames(), ", "))
	}
	var scenarios []*scenario
	for _, name := range o.names {
		s, err := loadScenario(name)
		if err == nil {
			err = s.resize(o.duration, o.scale)
		}
		if err != nil {
			return err
		}
		s.Criteria.busy = o.busy
		scenarios = append(scenarios, s)
	}
	failed := false
	for _, s := range scenarios {
		_, rows, err := runScenario(ctx, s, o, stdout)
		if err != nil {
			return err
		}
		for _, r := range rows {
			failed = failed || !r.pass
		}
	}
	if failed {
		return errVerdict
	}
	return nil
}

// runScenario runs one scenario, writes its reports and returns its table.
func runScenario(ctx context.Context, s *scenario, o runOptions, stdout io.Writer) (*outcome, []row, error) {
	dir, err := filepath.Abs(filepath.Join(o.out, s.Name))
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return nil, nil, err
	}
	fmt.Fprintf(stdout, "%s: %s; %v\n", s.Name, s.About, s.Duration)
	if o.agent == "" {
		o.agent = filepath.Join(dir, "log_capturer")
		defer os.Remove(o.agent)
		experiment := ""
		if s.LeakProfile {
			experiment = "goroutineleakprofile"
		}
		if err := buildAgent(ctx, o.agent, o.tags, experiment); err != nil {
			return nil, nil, err
		}
	}
	result, err := (&bed{scenario: s, dir: dir, out: stdout}).run(ctx, o.agent)
	if err != nil {
		return nil, nil, fmt.Errorf("scenario %s: %w", s.Name, err)
	}
	rows := result.judge()
	if err := writeReports(dir, result, rows); err != nil {
		return nil, nil, err
	}
	fmt.Fprintln(stdout)
	verdict := "PASS"
	if !printTable(stdout, rows) {
		verdict = "FAIL"
	}
	fmt.Fprintf(stdout, "\n%s %s; reports are in %s\n\n", verdict, s.Name, dir)
	return result, rows, nil
}

// bed is where a scenario is run: engine, containers, destination and agent.
type bed struct {
	scenario *scenario
	dir      string
	out      io.Writer

	engine *engine
	fleet  *fleet
	// counting keeps lines from arriving while the book is compared with what
	// was written: none may be in it that was written after that was read.
	counting    sync.Mutex
	book        *ledger.Ledger
	destination *lokitest.Server
	gate        *gate
	agent       *process

	mu      sync.Mutex
	history history
	errs    []error
}

// run sets all up, watches, and clears all away.
func (b *bed) run(ctx context.Context, binary string) (result *outcome, err error) {
	s := b.scenario
	cleanUp := func(f func() error) { err = errors.Join(err, f()) }
	if b.engine, err = openEngine(ctx, s.PrivateEngine, b.out); err != nil {
		return nil, err
	}
	defer func() { cleanUp(b.engine.close) }()
	countsDir, err := os.MkdirTemp("", "log_capturer-lab")
	if err != nil {
		return nil, err
	}
	name := "lab-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	b.fleet = &fleet{engine: b.engine, name: name, dir: countsDir}
	defer func() { cleanUp(func() error { return b.fleet.remove(context.WithoutCancel(ctx)) }) }()

	b.book = ledger.New()
	b.destination, err = lokitest.Start(lokitest.Options{OnEntry: func(_ string, _ int64, line []byte, _ []lokitest.Pair) {
		b.observe(line)
	}})
	if err != nil {
		return nil, fmt.Errorf("start destination: %w", err)
	}
	defer b.destination.Close()
	if b.gate, err = openGate(strings.TrimPrefix(b.destination.URL(), "http://")); err != nil {
		return nil, fmt.Errorf("start destination: %w", err)
	}
	defer b.gate.close()

	begin := time.Now()
	if err := b.fleet.spawn(ctx, s.Containers); err != nil {
		return nil, err
	}
	fmt.Fprintf(b.out, "%d containers started in %.1f s\n", s.lasting(), time.Since(begin).Seconds())
	if b.agent, err = newProcess(b.dir, binary, s, b.engine.host, name, b.gate.url()); err != nil {
		return nil, err
	}
	if err := b.agent.start(ctx); err != nil {
		return nil, errors.Join(err, b.agent.end(syscall.SIGKILL))
	}
	// However this ends, the agent is gone before the destination is.
	defer func() {
		if _, running := b.agent.pid(); running {
			cleanUp(func() error { return b.agent.end(syscall.SIGKILL) })
		}
	}()
	return b.measure(ctx, binary)
}

// observe enters a line that arrived, under the name of its container: what
// stands before the number of the start in the name of its run, or all of it.
func (b *bed) observe(line []byte) {
	parsed, err := numbered.Parse(line)
	if err == nil && parsed.End {
		return // it says how many there were, as the count files do
	}
	run := string(parsed.Run)
	if at := strings.LastIndexByte(run, '.'); at > 0 {
		run = run[:at]
	}
	b.counting.Lock()
	defer b.counting.Unlock()
	b.book.Observe(run, line)
}

// measure lets the scenario happen and judges what came of it.
func (b *bed) measure(ctx context.Context, binary string) (*outcome, error) {
	s := b.scenario
	o := &outcome{scenario: s, begin: time.Now(), commit: commit(ctx), machine: machine(ctx, b.engine)}
	if info, err := os.Stat(binary); err == nil {
		o.binaryBytes = info.Size()
	}
	happening, stop := context.WithTimeout(ctx, time.Duration(s.Duration))
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { b.fleet.churn(happening, s.Churn) })
	wg.Go(func() { b.fleet.restart(happening, s.Restarts) })
	for _, f := range s.Faults {
		wg.Go(func() { b.inflict(happening, f) })
	}
	b.watch(happening, o.begin)
	stop()
	// Containers that come and go write to their end.
	wg.Wait()
	if ctx.Err() != nil {
		return nil, errInterrupted
	}
	b.settle(ctx, &o.lines)
	o.history = b.history
	o.starts, o.restarts = b.fleet.started.Load(), b.fleet.restarts.Load()
	o.problems = append(b.fleet.problems(), b.errs...)
	if err := b.askLast(ctx, o); err != nil {
		return nil, err
	}
	o.agentEnd = b.agent.end(syscall.SIGTERM)
	o.violations = b.destination.Violations()
	return o, nil
}

// watch takes readings until ctx is done, and one then.
func (b *bed) watch(ctx context.Context, begin time.Time) {
	ticker := time.NewTicker(time.Duration(b.scenario.Sample))
	defer ticker.Stop()
	lastLine := time.Time{}
	for over := false; ; {
		r := b.take(context.WithoutCancel(ctx))
		if over || r.at.Sub(lastLine) >= progressEvery {
			fmt.Fprintln(b.out, r.line(begin))
			lastLine = r.at
		}
		if over {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			over = true
		}
	}
}

// progressEvery is the time between lines of progress.
const progressEvery = 5 * time.Second

func (b *bed) take(ctx context.Context) reading {
	r := observe(ctx, b.agent)
	r.values[colWritten] = float64(b.fleet.written())
	r.values[colDelivered] = float64(b.destination.Stats().Entries)
	b.history = append(b.history, r)
	return r
}

// inflict makes a fault happen in its time.
func (b *bed) inflict(ctx context.Context, f fault) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(time.Duration(f.At)):
	}
	fmt.Fprintf(b.out, "          fault: %s for %v\n", f.Kind, f.For)
	lasting, end := context.WithTimeout(ctx, time.Duration(f.For))
	defer end()
	var err error
	switch f.Kind {
	case destinationDown, destinationSlow, destinationFlapping:
		b.gate.hold(lasting, f.Kind)
	case engineKilled, engineStopped:
		err = b.engine.whileDown(f.Kind == engineKilled, func() { <-lasting.Done() })
	case agentKilled:
		err = errors.Join(b.agent.end(syscall.SIGKILL), b.agent.start(context.WithoutCancel(ctx)))
	case agentRestarted:
		err = errors.Join(b.agent.end(syscall.SIGTERM), b.agent.start(context.WithoutCancel(ctx)))
	}
	if err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.errs = append(b.errs, fmt.Errorf("%s: %w", f.Kind, err))
	}
}

// settle waits for what was written by now to arrive, and compares.
func (b *bed) settle(ctx context.Context, l *lineCount) {
	begin := time.Now()
	if l.err = b.quiesce(ctx, l); l.err != nil {
		return
	}
	expected, err := b.fleet.expect()
	if err != nil {
		l.err = err
		return
	}
	l.written = b.fleet.written()
	var still stillness
	for deadline := begin.Add(time.Duration(b.scenario.Settle)); ; {
		if l.report, l.err = b.compare(expected); l.err != nil {
			return
		}
		l.delivered, l.settled = l.report.Distinct, time.Since(begin)
		if l.ok(b.scenario.Criteria.Repeats) || time.Now().After(deadline) || hopeless(l.report, b.scenario.Criteria.Repeats) || still.since(l.report) > stillFor {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// compare compares what has arrived with what must have and may have.
func (b *bed) compare(expected expectation) (*ledger.Report, error) {
	b.counting.Lock()
	defer b.counting.Unlock()
	if err := b.fleet.enter(b.book, expected); err != nil {
		return nil, err
	}
	return b.book.Check(), nil
}

// hopeless reports whether waiting can make nothing better.
func hopeless(r *ledger.Report, repeats bool) bool {
	return r.Disordered+r.Corrupt+r.Foreign+r.Unexpected > 0 || !repeats && r.Repeated > 0
}

// stillFor is how long no missing line may arrive while others do until they are
// taken for lost: each stream arrives in order.
const stillFor = 12 * time.Second

// stillness notes since when the number of missing lines is what it is, and that
// lines arrived since.
type stillness struct {
	begin             time.Time
	missing, observed uint64
}

func (s *stillness) since(r *ledger.Report) time.Duration {
	if s.begin.IsZero() || r.Missing < s.missing {
		s.begin, s.missing, s.observed = time.Now(), r.Missing, r.Observed
	}
	if r.Observed == s.observed {
		return 0
	}
	return time.Since(s.begin)
}

// quiesce stops the containers where their engine was made to lose lines, and
// counts what it has.
func (b *bed) quiesce(ctx context.Context, l *lineCount) error {
	if !b.scenario.PrivateEngine {
		return nil
	}
	if err := b.fleet.stop(ctx); err != nil {
		return err
	}
	expected, err := b.fleet.expect()
	if err != nil {
		return err
	}
	kept := ledger.New()
	if err := errors.Join(b.fleet.enter(kept, expected), b.fleet.kept(ctx, kept)); err != nil {
		return err
	}
	l.kept = kept.Check()
	return nil
}

// askLast keeps what the agent says of itself at the end.
func (b *bed) askLast(ctx context.Context, o *outcome) error {
	for file, url := range map[string]string{
		"leaks.json": b.agent.api + "/api/v1/leaks", "metrics.txt": b.agent.metrics + "/metrics",
		"goroutines.txt": b.agent.pprof + "/debug/pprof/goroutine?debug=1",
	} {
		text, err := fetchPatiently(ctx, url)
		if err != nil {
			return fmt.Errorf("ask the agent at the end: %w", err)
		}
		if err := os.WriteFile(filepath.Join(b.dir, file), text, 0o644); err != nil {
			return err
		}
	}
	if !b.scenario.LeakProfile {
		return nil
	}
	text, err := fetchPatiently(ctx, b.agent.pprof+"/debug/pprof/goroutineleak?debug=1")
	if err != nil {
		return fmt.Errorf("ask for the goroutine leak profile: %w", err)
	}
	n, err := leakedGoroutines(string(text))
	if err != nil {
		return err
	}
	o.leaked = &n
	return os.WriteFile(filepath.Join(b.dir, "goroutineleak.txt"), text, 0o644)
}

// leakedGoroutines returns the total of a goroutine leak profile, which begins
// "goroutineleak profile: total 3".
func leakedGoroutines(text string) (int, error) {
	head, _, _ := strings.Cut(text, "\n")
	_, total, found := strings.Cut(head, "total ")
	n, err := strconv.Atoi(strings.TrimSpace(total))
	if !found || err != nil {
		return 0, fmt.Errorf("the goroutine leak profile begins %q", head)
	}
	return n, nil
}

// writeJSON keeps the table for programs.
func writeJSON(path string, o *outcome, rows []row) error {
	type criterion struct {
		Criterion, Wanted, Measured string
		Pass                        bool
	}
	out := struct {
		Scenario, Commit, Machine string
		Begin                     time.Time
		Seconds                   float64
		Criteria                  []criterion
	}{o.scenario.Name, o.commit, o.machine, o.begin.UTC(), time.Duration(o.scenario.Duration).Seconds(), nil}
	for _, r := range rows {
		out.Criteria = append(out.Criteria, criterion{r.criterion, r.want, r.got, r.pass})
	}
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
