package main

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"log_capturer/internal/record"
	"log_capturer/internal/testkit/ledger"
	"log_capturer/internal/testkit/numbered"
)

// goodRun returns what a run of all criteria came to that passes: ten minutes,
// a sample every five seconds.
func goodRun() *outcome {
	ptr := func(v float64) *float64 { return &v }
	s := &scenario{
		Name: "test", About: "a <test> & more", Duration: duration(10 * time.Minute), WarmUp: duration(time.Minute),
		Criteria: criteria{
			GoroutinesPerMinute: ptr(2), FDGrowth: ptr(5), HeapPerMinute: ptr(5), MaxMemory: ptr(64), MaxGoroutines: ptr(100),
			MaxCPU: ptr(5), PoolFull: true, Healthy: true, Steady: true, Rotations: ptr(100), RotationsPerSecond: ptr(1),
			WaitBounded: true, MaxLag: duration(10 * time.Second), Starts: ptr(1),
		},
	}
	leaked := 0
	o := &outcome{scenario: s, begin: t0, leaked: &leaked, starts: 1200, commit: "abc", machine: "a machine"}
	for i := range 121 {
		o.history = append(o.history, reading{at: t0.Add(time.Duration(i) * 5 * time.Second), values: map[string]float64{
			colUp: 1, colPID: 42, colGoroutines: 177, byComponent + "stream": 100, byComponent + "server": 77,
			colFDs: 60, byKind + "socket": 50, byKind + "file": 10, colMemory: 30 << 20, colHeap: float64(10+i%3) * (1 << 20),
			colCPU: 0.1 * float64(i), colStreams: 50, colCapacity: 50, colContainers: 55, colRotations: 10 * float64(i),
			colLag: 0.3, colWait: 1, colBound: 3, colWritten: 1000, colDelivered: 1000,
		}})
	}
	o.lines = lineCount{written: 1000, delivered: 1000, report: ledgerOf(1000, func(n uint64) int { return 1 })}
	return o
}

// ledgerOf returns the verdict on n lines of which each arrived a number of
// times.
func ledgerOf(n uint64, times func(n uint64) int) *ledger.Report {
	book := ledger.New()
	for i := uint64(1); i <= n; i++ {
		for range times(i) {
			book.Observe("c", numbered.Append(nil, "c.1", record.Stdout, i, 80, numbered.ASCII))
		}
	}
	book.Expect("c", "c.1", record.Stdout, n)
	return book.Check()
}

func TestJudgeGood(t *testing.T) {
	for _, r := range goodRun().judge() {
		if !r.pass {
			t.Errorf("%s: %s", r.criterion, r.got)
		}
	}
}

// Each criterion fails by its own cause, names it, and fails alone.
func TestJudgeEachCriterion(t *testing.T) {
	spoil := func(column string, value func(i int) float64) func(o *outcome) {
		return func(o *outcome) {
			for i := range o.history {
				o.history[i].values[column] = value(i)
			}
		}
	}
	f := func(name string, spoil func(o *outcome), criterion, says string) {
		t.Helper()
		o := goodRun()
		spoil(o)
		var failed []string
		for _, r := range o.judge() {
			if !r.pass {
				failed = append(failed, r.criterion)
				if !strings.Contains(r.got, says) {
					t.Errorf("%s: says %q, want %q in it", name, r.got, says)
				}
			}
		}
		if !slices.Equal(failed, []string{criterion}) {
			t.Errorf("%s: failed are %q, want %q alone", name, failed, criterion)
		}
	}
	late := func(i int) float64 { return float64(max(0, i-100)) }
	f("a component leaks behind a steady total", spoil(byComponent+"stream", func(i int) float64 { return 100 + float64(i) }), critGoroutines, "; stream +12.00/min")
	f("sockets leak", spoil(byKind+"socket", func(i int) float64 { return 50 + float64(i) }), critFDs, "; socket +")
	f("all descriptors leak", spoil(colFDs, func(i int) float64 { return 50 + float64(i) }), critFDs, "+88 (62 -> 170)")
	f("heap", spoil(colHeap, func(i int) float64 { return float64(i) * (1 << 20) }), critHeap, "+12.00 MiB/min")
	f("memory once", spoil(colMemory, func(i int) float64 { return float64(60+i%120) * (1 << 20) }), critMemory, "at most 179.0 MiB")
	f("goroutines once", spoil(colGoroutines, func(i int) float64 { return 177 + 30*float64(i%2) }), critMost, "at most 130 without")
	f("processor", spoil(colCPU, func(i int) float64 { return float64(i) }), critCPU, "20.00 %")
	f("half a pool", spoil(colStreams, func(int) float64 { return 25 }), critPool, "25/50, mostly 25")
	f("too many streams", spoil(colStreams, func(int) float64 { return 51 }), critPool, "51/50")
	f("degraded once", func(o *outcome) {
		o.history[60].values[colHealth], o.history[60].reasons = 1, "sink: late"
	}, critHealth, "DEGRADED in 1 of 109 samples: sink: late")
	f("no answer once", func(o *outcome) {
		o.history[60] = reading{at: o.history[60].at, values: map[string]float64{}, reasons: "hung"}
	}, critHealth, "NO ANSWER in 1 of 109 samples: hung")
	f("it says itself that it grows", spoil(colGrowing, func(i int) float64 { return float64(i / 120) }), critSteady, "growing in 1 of")
	f("rotations", func(o *outcome) {
		*o.scenario.Criteria.RotationsPerSecond = 0
		spoil(colRotations, func(i int) float64 { return float64(i) / 2 })(o)
	}, critRotations, "60")
	f("slow rotations", spoil(colRotations, func(i int) float64 { return float64(i) }), critRate, "0.2")
	f("wait", spoil(colWait, func(i int) float64 { return 1 + late(i) }), critWait, "21.00 s, bound 3.00 s")
	f("lag", spoil(colLag, late), critLag, "at most 19.0 s")
	f("gaps", spoil(colGaps, late), critGaps, "20")
	f("overdue", func(o *outcome) {
		spoil(colOverdue, func(int) float64 { return 1 })(o)
		spoil(overdueOf+"stream", func(int) float64 { return 1 })(o)
	}, critOverdue, "1; stream 1")
	f("few starts", func(o *outcome) { o.starts = 10 }, critStarts, "10 in all")
	f("goroutines that are lost", func(o *outcome) { *o.leaked = 3 }, critLeakProfile, "3")
	f("a container failed", func(o *outcome) { o.problems = []error{errors.New("no start")} }, critContainers, "1 times not, first: no start")
	f("a bad push", func(o *outcome) { o.violations = []string{"no length"} }, critDestinations, "no length")
	f("a bad end", func(o *outcome) { o.agentEnd = errors.New("status 1") }, critEndsWell, "status 1")
	lines := func(times func(n uint64) int) func(o *outcome) {
		return func(o *outcome) { o.lines.report = ledgerOf(1000, times) }
	}
	f("a line is missing", lines(func(n uint64) int { return min(1, int(n^500)) }), critLines, "1 missing")
	f("a line is repeated", lines(func(n uint64) int { return 1 + max(0, 1-int(n^500)) }), critLines, "1 repeated")
	f("nothing was written", func(o *outcome) { o.lines.written = 0 }, critLines, "0 written")
	f("not counted", func(o *outcome) { o.lines = lineCount{err: errors.New("no file")} }, critLines, "no file")
}

func TestJudgeLinesOfAnEngineThatLost(t *testing.T) {
	lost := func(n uint64) int { return min(1, int(n^500)) }
	l := lineCount{written: 1000, report: ledgerOf(1000, lost), kept: ledgerOf(1000, lost)}
	if !l.ok(false) {
		t.Error("what the engine has lost counts against the agent")
	}
	l.report = ledgerOf(1000, func(n uint64) int { return min(lost(n), int(n^501)) })
	if l.ok(false) {
		t.Error("what the agent has lost besides does not count")
	}
	l = lineCount{written: 1000, report: ledgerOf(1000, func(n uint64) int { return 1 + int(n%2) })}
	if l.ok(false) || !l.ok(true) {
		t.Error("repeats")
	}
}

func TestJudgeLagOfOneSample(t *testing.T) {
	o := goodRun()
	o.history[60].values[colLag] = 300
	if r := judgeLag(o.history, 10*time.Second); !r.pass {
		t.Errorf("%+v", r)
	}
	o.history[61].values[colLag] = 200
	if r := judgeLag(o.history, 10*time.Second); r.pass || r.got != "at most 200.0 s" {
		t.Errorf("%+v", r)
	}
}

func TestFloorRise(t *testing.T) {
	f := func(want float64, values ...float64) {
		t.Helper()
		if got := floorRise(values); got != want {
			t.Errorf("%v: %v, want %v", values, got, want)
		}
	}
	f(0, 5)
	f(0, 10, 12, 10, 11, 14, 10, 10, 13, 10, 30)
	f(2, 10, 12, 10, 11, 14, 10, 10, 13, 12, 30)
	f(-1, 10, 11, 10, 10, 9)
}

func TestJudgeSilence(t *testing.T) {
	o := goodRun()
	for i := range o.history {
		o.history[i].values[colUp] = 0
	}
	rows := o.judge()
	if rows[0].pass || rows[0].criterion != critAnswers {
		t.Errorf("%+v", rows)
	}
}

// The busy machine's slack is for times, not for leaks and lines.
func TestJudgeBusy(t *testing.T) {
	o := goodRun()
	o.scenario.Criteria.busy = true
	for i := range o.history {
		o.history[i].values[colLag], o.history[i].values[colWait] = 25, 20
		o.history[i].values[byComponent+"stream"] = 100 + float64(i)
		if i%6 == 0 {
			o.history[i].values[colHealth] = 1
		}
	}
	for _, r := range o.judge() {
		if r.pass == (r.criterion == critGoroutines) {
			t.Errorf("%s: %v, %s", r.criterion, r.pass, r.got)
		}
	}
}

func TestStillness(t *testing.T) {
	var s stillness
	r := &ledger.Report{Missing: 10, Observed: 100}
	if s.since(r) != 0 {
		t.Error("nothing has arrived yet")
	}
	r.Observed = 200
	s.begin = s.begin.Add(-time.Hour)
	if s.since(r) < time.Hour {
		t.Error("others arrive, and these do not")
	}
	r.Missing = 12 // more were lost
	if s.since(r) < time.Hour {
		t.Error("more are missing, and that is progress")
	}
	r.Missing = 9
	if s.since(r) != 0 {
		t.Error("one has arrived")
	}
}

func TestReports(t *testing.T) {
	o := goodRun()
	o.history[5].reasons = "a | b"
	rows := append(o.judge(), row{"a | b", "<c>", "two\nlines", false})
	dir := t.TempDir()
	if err := writeReports(dir, o, rows); err != nil {
		t.Fatal(err)
	}
	page, err := htmlReport(o, rows)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(page), "<test>") || strings.Contains(string(page), "http://") || strings.Contains(string(page), "<script") {
		t.Error("the page has unescaped text, or needs something from elsewhere")
	}
	if n := strings.Count(string(page), "<svg"); n != 7 {
		t.Errorf("%d plots", n)
	}
	for _, p := range plots(o.history) {
		for d := xml.NewDecoder(strings.NewReader(p.svg())); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", p.title, err)
			}
		}
	}
	text := markdownReport(o, rows)
	for _, want := range []string{"# test: FAIL", `a \| b`, "two<br>lines", "| goroutines a rotation | +0.000 |", "abc"} {
		if !strings.Contains(text, want) {
			t.Errorf("report without %q:\n%s", want, text)
		}
	}
	var b bytes.Buffer
	if err := o.history.writeCSV(&b); err != nil {
		t.Fatal(err)
	}
	table, err := csv.NewReader(&b).ReadAll()
	if err != nil || len(table) != 122 {
		t.Fatalf("%d rows: %v", len(table), err)
	}
	at := slices.Index(table[0], byComponent+"stream")
	if at < 0 || table[1][at] != "100" {
		t.Errorf("%q\n%q", table[0], table[1])
	}
}

func TestLeakedGoroutines(t *testing.T) {
	if n, err := leakedGoroutines("goroutineleak profile: total 3\n3 @ 0x1\n"); n != 3 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := leakedGoroutines("404 page not found"); err == nil {
		t.Error("no error")
	}
}
