package e2e

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"log_capturer/internal/lifetime"
	"log_capturer/internal/record"
	"log_capturer/internal/sinks/loki/lokitest"
	"log_capturer/internal/testkit/agent"
	"log_capturer/internal/testkit/enginetest"
	"log_capturer/internal/testkit/ledger"
	"log_capturer/internal/testkit/numbered"
)

// reloadConfig returns one of the configurations between which is reloaded. The
// sinks "main" and "loki" are in all of them, "extra" comes and goes. With routes
// there are some that route past it; a whole one has all that there is.
func reloadConfig(rng *rand.Rand, dir string, loki string, routes, whole bool) string {
	one := func(texts ...string) string { return texts[rng.IntN(len(texts))] }
	c := "container_monitor: {enabled: false}\ndispatcher: {window_bytes: " + one("2MiB", "3MiB") + "}\nlog: {level: " + one("info", "debug") + "}\n" +
		"file_monitor:\n  files: [{include: [\"" + dir + "/*.log\"]}]\n  scan_interval: " + one("200ms", "200ms", "300ms") + "\n" +
		"sinks:\n"
	spool := "0" // turned off
	if whole {
		spool = "8MiB"
	}
	sinks := []string{
		"  - {type: local_file, name: main, path: '{data_dir}/main.log', format: text, linger: " + one("10ms", "20ms") + ", batch_records: " + one("50", "5000") + "}\n",
		"  - {type: loki, url: " + loki + ", min_backoff: 20ms, max_backoff: 100ms, concurrency: " + one("1", "2", "3") + ", encoding: " + one("protobuf", "json") +
			", spool: {max_bytes: " + one("8MiB", "9MiB", spool) + "}}\n",
	}
	if whole || rng.IntN(2) == 0 {
		sinks = append(sinks, "  - {type: local_file, name: extra, path: '{data_dir}/extra.log', format: text, linger: 10ms}\n")
	}
	rng.Shuffle(len(sinks), func(i, j int) { sinks[i], sinks[j] = sinks[j], sinks[i] })
	c += strings.Join(sinks, "")
	// The first of these holds each line until the next one comes.
	pipelines := []string{
		"stages: [{type: multiline, start: '^', max_wait: 300ms}]",
		"stages: [{type: level}, {type: set, values: {a: '1'}}]",
	}
	if routes {
		pipelines = append(pipelines, "stages: [{type: level}, {type: route, default: all, rules: [{if: 'true', sinks: [main, loki]}]}]")
	}
	if whole || rng.IntN(3) == 0 {
		return c
	}
	return c + "pipelines:\n  - {name: p, select: {files: ['*']}, " + one(pipelines...) + "}\n"
}

// TestReload reloads between configurations that add, remove and replace sinks,
// pipelines and the file monitor, under load. Each line arrives once and in order
// at every sink that is there all the time. What occupies the agent afterwards is
// what occupied it before.
func TestReload(t *testing.T) {
	rounds := long(20, 200)
	dir := t.TempDir()
	inLoki := ledger.New()
	loki, err := lokitest.Start(lokitest.Options{OnEntry: func(_ string, _ int64, line []byte, _ []lokitest.Pair) { inLoki.Observe("files", line) }})
	enginetest.Must(t, err)
	defer loki.Close()
	rng := rand.New(rand.NewPCG(rand.Uint64(), 1))
	base := reloadConfig(rng, dir, loki.URL(), false, true)
	a := agent.Start(t, agent.Options{Config: base})
	writers, stop := writeFiles(t, dir, 4)
	reload := func(want ...string) agent.Reload {
		t.Helper()
		r, err := a.Reload()
		enginetest.Must(t, err)
		if !slices.Contains(want, r.Result) || (r.Code == 200) != (r.Result == "applied" || r.Result == "unchanged") {
			t.Errorf("reload: %+v, want %q", r, want)
		}
		return r
	}
	// What is lazily made is there after a few reloads.
	for range 3 {
		a.Configure(reloadConfig(rng, dir, loki.URL(), false, false))
		reload("applied", "unchanged")
	}
	settle := func() (goroutines, fds float64) {
		a.Configure(base)
		reload("applied", "unchanged")
		time.Sleep(2 * time.Second)
		return a.Metric(t, "log_capturer_goroutines"), a.Metric(t, "log_capturer_open_fds")
	}
	goroutines, fds := settle()
	var slowest, total float64
	changed := map[string]int{}
	for n := range rounds {
		time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
		a.Configure(reloadConfig(rng, dir, loki.URL(), false, false))
		switch {
		case n%10 == 3:
			a.Configure("sinks: [{type: nothing}]\nlog: {level: loud}\n")
			if r := reload("invalid"); len(r.Errors) != 2 || !strings.Contains(r.Errors[0], "config.yaml:") {
				t.Errorf("errors of a wrong configuration: %q", r.Errors)
			}
		case n%10 == 6:
			a.Configure("host: another\n" + base)
			if r := reload("refused"); len(r.Errors) != 1 || !strings.Contains(r.Errors[0], "host") {
				t.Errorf("errors of what takes a restart: %q", r.Errors)
			}
		case n%5 == 4:
			before, err := a.Status()
			enginetest.Must(t, err)
			a.Signal(syscall.SIGHUP)
			enginetest.Eventually(t, time.Minute, "the signal had the configuration reloaded", func() bool {
				s, err := a.Status()
				return err == nil && s.LastReload.At.After(before.LastReload.At)
			})
		default:
			r := reload("applied", "unchanged")
			slowest, total = max(slowest, r.Seconds), total+r.Seconds
			for _, part := range r.Changed {
				changed[part]++
			}
		}
	}
	goroutinesAfter, fdsAfter := settle()
	t.Logf("goroutines %v, then %v; descriptors %v, then %v; the slowest reload took %.3f s, all %.1f s; changed %v",
		goroutines, goroutinesAfter, fds, fdsAfter, slowest, total, changed)
	if goroutinesAfter > goroutines+3 || fdsAfter > fds+3 {
		t.Error("the agent occupies more than before")
	}
	stop()
	inFile, lines := expectFromFiles(writers, inLoki)
	enginetest.Eventually(t, time.Minute, "all lines are delivered", func() bool {
		return inLoki.Check().Missing == 0 && len(linesOf(t, filepath.Join(a.DataDir, "main.log"))) >= lines &&
			queued(a) == 0
	})
	for _, line := range linesOf(t, filepath.Join(a.DataDir, "main.log")) {
		inFile.Observe("files", []byte(line))
	}
	check(t, "main", inFile)
	check(t, "loki", inLoki)
	checkExtra(t, a, writers)
	checkAccounts(t, a)
	if v := loki.Violations(); len(v) > 0 {
		t.Errorf("pushes that break the protocol: %q", v)
	}
}

// TestReloadKilled kills the agent in the middle of reloads.
func TestReloadKilled(t *testing.T) {
	rounds := long(6, 60)
	dir := t.TempDir()
	inLoki := ledger.New()
	loki, err := lokitest.Start(lokitest.Options{OnEntry: func(_ string, _ int64, line []byte, _ []lokitest.Pair) { inLoki.Observe("files", line) }})
	enginetest.Must(t, err)
	defer loki.Close()
	rng := rand.New(rand.NewPCG(rand.Uint64(), 1))
	a := agent.Start(t, agent.Options{Config: reloadConfig(rng, dir, loki.URL(), true, false)})
	writers, stop := writeFiles(t, dir, 4)
	for range rounds {
		for range 1 + rng.IntN(3) {
			a.Configure(reloadConfig(rng, dir, loki.URL(), true, false))
			a.Signal(syscall.SIGHUP)
			time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
		}
		a.Kill()
		a.Start()
	}
	stop()
	inFile, lines := expectFromFiles(writers, inLoki)
	enginetest.Eventually(t, time.Minute, "all lines are delivered", func() bool {
		return inLoki.Check().Missing == 0 && len(linesOf(t, filepath.Join(a.DataDir, "main.log"))) >= lines
	})
	for _, line := range linesOf(t, filepath.Join(a.DataDir, "main.log")) {
		inFile.Observe("files", []byte(line))
	}
	check(t, "main", inFile)
	// Lines of files have no time of their own: what was in flight at a kill comes
	// again as another entry.
	if r := inLoki.Check(); r.Missing+r.Corrupt+r.Foreign+r.Unexpected > 0 {
		t.Errorf("loki: %v", r)
	}
	checkExtra(t, a, nil)
}

// expectFromFiles has both ledgers expect what the writers wrote, the one of Loki and
// a new one for the file, and returns that and how many lines it is.
func expectFromFiles(writers []*logWriter, inLoki *ledger.Ledger) (inFile *ledger.Ledger, lines int) {
	inFile = ledger.New()
	for _, w := range writers {
		lines += int(w.lines)
		inLoki.Expect("files", filepath.Base(w.path), record.Stdout, w.lines)
		inFile.Expect("files", filepath.Base(w.path), record.Stdout, w.lines)
	}
	return inFile, lines
}

// queued returns how many records wait for sinks, or are in their spools.
func queued(a *agent.Agent) float64 {
	samples, err := a.Scrape()
	if err != nil {
		return -1
	}
	memory, _ := samples.Sum("log_capturer_queue_records")
	spooled, _ := samples.Sum("log_capturer_spool_records")
	return memory + spooled
}

// writeFiles writes numbered lines to files until stop is called.
func writeFiles(t *testing.T, dir string, n int) (writers []*logWriter, stop func()) {
	t.Helper()
	writing := lifetime.NewGroup(context.Background())
	for i := range n {
		w := &logWriter{path: filepath.Join(dir, fmt.Sprintf("f%d.log", i))}
		enginetest.Must(t, w.open())
		writers = append(writers, w)
		writing.Go("writer", func(ctx context.Context) error {
			defer w.file.Close()
			var b []byte
			for ctx.Err() == nil {
				b = b[:0]
				for range 1 + rand.IntN(30) {
					w.lines++
					b = append(numbered.Append(b, filepath.Base(w.path), record.Stdout, w.lines, 60, numbered.ASCII), '\n')
				}
				if _, err := w.file.Write(b); err != nil {
					return err
				}
				time.Sleep(10 * time.Millisecond)
			}
			return nil
		})
	}
	return writers, func() {
		writing.Cancel()
		enginetest.Must(t, writing.Wait())
	}
}

// linesOf returns the whole lines of a file, none where it is not there.
func linesOf(t *testing.T, path string) (lines []string) {
	t.Helper()
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil
	}
	enginetest.Must(t, err)
	defer f.Close()
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		lines = append(lines, scanner.Text())
	}
	return lines
}

// checkExtra checks the sink that came and went: what it has of each file is in
// order and without repeats. With writers it is there in the end, and has all that
// they wrote since it was there for the first time.
func checkExtra(t *testing.T, a *agent.Agent, writers []*logWriter) {
	t.Helper()
	first, last, n := map[string]uint64{}, map[string]uint64{}, map[string]uint64{}
	total := 0
	for _, text := range linesOf(t, filepath.Join(a.DataDir, "extra.log")) {
		line, err := numbered.Parse([]byte(text))
		if err != nil {
			t.Fatalf("extra: %v in %q", err, text)
		}
		run := string(line.Run)
		if line.N <= last[run] {
			t.Fatalf("extra: line %d of %s comes after line %d", line.N, run, last[run])
		}
		if last[run] == 0 {
			first[run] = line.N
		}
		last[run] = line.N
		n[run]++
		total++
	}
	for _, w := range writers {
		run := filepath.Base(w.path)
		if last[run] != w.lines || n[run] != w.lines-first[run]+1 {
			t.Errorf("extra: %d lines of %s from %d to %d, which has %d", n[run], run, first[run], last[run], w.lines)
		}
	}
	t.Logf("extra has %d lines", total)
}
