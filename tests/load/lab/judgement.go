package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"log_capturer/internal/testkit/ledger"
)

// The names of the criteria, as reports and controls have them.
const (
	critGoroutines   = "goroutine growth"
	critFDs          = "FD growth"
	critHeap         = "heap growth"
	critMemory       = "memory"
	critMost         = "goroutines"
	critCPU          = "processor time"
	critPool         = "stream pool"
	critHealth       = "health"
	critSteady       = "the agent's own verdict"
	critRotations    = "rotations"
	critRate         = "rotations a second"
	critWait         = "longest wait"
	critLag          = "lag"
	critGaps         = "suspected gaps"
	critOverdue      = "overdue goroutines"
	critStarts       = "container starts"
	critLines        = "every line"
	critContainers   = "containers did as told"
	critLeakProfile  = "goroutines that can never run again"
	critAnswers      = "agent answers"
	critEndsWell     = "agent ends well"
	critDestinations = "pushes well-formed"
)

// outcome is all that a run came to.
type outcome struct {
	scenario *scenario
	begin    time.Time
	history  history
	lines    lineCount
	// leaked is what the goroutine leak profile says, when it was asked.
	leaked      *int
	starts      int64
	restarts    int64
	problems    []error
	agentEnd    error
	violations  []string
	commit      string
	machine     string
	binaryBytes int64
}

// lineCount is the comparison of lines written and delivered.
type lineCount struct {
	written, delivered uint64
	report             *ledger.Report
	// kept is what the engine itself has, when it was made to lose lines.
	kept *ledger.Report
	// settled is how long the last lines took.
	settled time.Duration
	err     error
}

// judge holds the outcome against the scenario's criteria.
func (o *outcome) judge() []row {
	c := &o.scenario.Criteria
	up := o.history.up()
	if len(up) < 4 {
		return []row{{critAnswers, "most samples", fmt.Sprintf("%d of %d samples", len(up), len(o.history)), false}, o.judgeLines()}
	}
	warm := o.history.after(o.begin.Add(time.Duration(o.scenario.WarmUp)))
	steady := warm.up()
	if len(steady) < 4 {
		steady = up
	}
	var rows []row
	add := func(r row) { rows = append(rows, r) }
	if c.GoroutinesPerMinute != nil {
		add(judgeGrowth(steady, critGoroutines, colGoroutines, byComponent, *c.GoroutinesPerMinute, 1, ""))
	}
	if c.FDGrowth != nil {
		add(judgeRise(steady, critFDs, colFDs, byKind, *c.FDGrowth))
	}
	if c.HeapPerMinute != nil {
		add(judgeGrowth(steady, critHeap, colHeap, "", *c.HeapPerMinute, 1<<20, " MiB"))
	}
	most := func(name string, values []float64, limit, unit float64, format string) {
		got := slices.Max(values) / unit
		add(row{name, fmt.Sprintf("<= "+format, limit), fmt.Sprintf("at most "+format, got), got <= limit})
	}
	if c.MaxMemory != nil {
		most(critMemory, steady.of(colMemory), *c.MaxMemory, 1<<20, "%.1f MiB")
	}
	if c.MaxGoroutines != nil {
		// Those of the servers are there to answer the lab.
		values := steady.of(colGoroutines)
		for i, n := range steady.of(byComponent + "server") {
			values[i] -= n
		}
		most(critMost, values, *c.MaxGoroutines, 1, "%.0f without the servers'")
	}
	if c.MaxCPU != nil {
		add(judgeCPU(steady, *c.MaxCPU))
	}
	if c.PoolFull {
		add(judgeFullPool(steady))
	}
	if c.Healthy {
		add(judgeHealthy(warm, c.busy))
	}
	if c.Steady {
		add(judgeOwnVerdict(up))
	}
	rotations := increase(up.of(colRotations))
	if c.Rotations != nil {
		add(row{critRotations, fmt.Sprintf(">= %.0f", *c.Rotations), fmt.Sprintf("%.0f", rotations), rotations >= *c.Rotations})
	}
	if c.RotationsPerSecond != nil {
		rate := rotations / up[len(up)-1].at.Sub(up[0].at).Seconds()
		add(row{critRate, fmt.Sprintf(">= %.0f", *c.RotationsPerSecond), fmt.Sprintf("%.1f", rate), rate >= *c.RotationsPerSecond})
	}
	if c.WaitBounded {
		add(judgeWait(steady, c.slack()))
	}
	if c.MaxLag > 0 {
		add(judgeLag(steady, time.Duration(c.MaxLag)+c.slack()))
	}
	gaps := increase(append([]float64{0}, up.of(colGaps)...))
	add(row{critGaps, fmt.Sprintf("<= %.0f", c.SuspectedGaps), fmt.Sprintf("%.0f", gaps), gaps <= c.SuspectedGaps})
	add(judgeOverdue(up, c.Overdue))
	if c.Starts != nil {
		rate := float64(o.starts) / time.Duration(o.scenario.Duration).Seconds()
		add(row{critStarts, fmt.Sprintf(">= %.1f a second", *c.Starts), fmt.Sprintf("%.1f a second, %d in all, %d restarts", rate, o.starts, o.restarts), rate >= *c.Starts})
	}
	if o.leaked != nil {
		add(row{critLeakProfile, "0", fmt.Sprint(*o.leaked), *o.leaked == 0})
	}
	add(o.judgeLines())
	add(judgeNone(critContainers, o.problems))
	add(judgeNone(critDestinations, o.violations))
	end := row{critEndsWell, "status 0", "status 0", o.agentEnd == nil}
	if o.agentEnd != nil {
		end.got = o.agentEnd.Error()
	}
	add(end)
	return rows
}

// judgeNone wants a list of problems to be empty.
func judgeNone[T any](criterion string, problems []T) row {
	r := row{criterion, "always", "always", len(problems) == 0}
	if len(problems) > 0 {
		r.got = fmt.Sprintf("%d times not, first: %v", len(problems), problems[0])
	}
	return r
}

// leastRise is the rise, in the unit of its limit, below which a slope is one or
// two things that come and go. Over minutes, a few of the connections that the
// agent keeps for a while are; each has two goroutines.
func leastRise(span time.Duration) float64 {
	if span < 5*time.Minute {
		return 20
	}
	return 3
}

// judgeOverdue wants few goroutines to have been given up.
func judgeOverdue(h history, limit float64) row {
	// They may have been given up before the first sample.
	total := func(column string) float64 { return increase(append([]float64{0}, h.of(column)...)) }
	n := total(colOverdue)
	r := row{critOverdue, fmt.Sprintf("<= %.0f", limit), fmt.Sprintf("%.0f", n), n <= limit}
	for _, column := range h.columns(overdueOf) {
		if of := total(column); of > 0 {
			r.got += fmt.Sprintf("; %s %.0f", strings.TrimPrefix(column, overdueOf), of)
		}
	}
	return r
}

// judgeGrowth wants the slope of a column, and of all columns with a prefix, to
// be below a limit, in units a minute. What grows most is named.
func judgeGrowth(h history, criterion, column, prefix string, limit, unit float64, suffix string) row {
	span := h[len(h)-1].at.Sub(h[0].at)
	least := leastRise(span)
	slope := func(column string) float64 {
		var points []point
		for i := range h {
			points = append(points, point{h[i].at, h[i].get(colStreams), h[i].get(column) / unit})
		}
		return trend(points)
	}
	fails := func(slope float64) bool { return slope >= limit && slope*span.Minutes() >= least }
	total := slope(column)
	r := row{criterion, fmt.Sprintf("< %g%s/min, or %g in all", limit, suffix, least), "", !fails(total)}
	r.got = fmt.Sprintf("%+.2f%s/min (%.0f -> %.0f)", total, suffix, h[0].get(column)/unit, h[len(h)-1].get(column)/unit)
	if prefix == "" {
		return r
	}
	var growing []string
	slopes := map[string]float64{}
	for _, c := range h.columns(prefix) {
		if s := slope(c); fails(s) {
			slopes[c] = s
			growing = append(growing, c)
			r.pass = false
		}
	}
	slices.SortFunc(growing, func(a, b string) int { return -cmpFloat(slopes[a], slopes[b]) })
	for _, c := range growing {
		r.got += fmt.Sprintf("; %s %+.2f/min", strings.TrimPrefix(c, prefix), slopes[c])
	}
	return r
}

func cmpFloat(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// floorRise returns by how much the lowest value of the last fifth is above that
// of the first. What leaks lifts the floor; connections that come and go do not.
func floorRise(values []float64) float64 {
	n := max(1, len(values)/5)
	return slices.Min(values[len(values)-n:]) - slices.Min(values[:n])
}

// judgeRise wants the floor of a column, and of all columns with a prefix, to rise
// by less than a limit, and names those that rose by more.
func judgeRise(h history, criterion, column, prefix string, limit float64) row {
	rise := floorRise(h.of(column))
	r := row{criterion, fmt.Sprintf("< %g", limit), "", rise < limit}
	r.got = fmt.Sprintf("%+.0f (%.0f -> %.0f)", rise, h[0].get(column), h[len(h)-1].get(column))
	for _, c := range h.columns(prefix) {
		if g := floorRise(h.of(c)); g >= limit {
			r.pass = false
			r.got += fmt.Sprintf("; %s %+.0f", strings.TrimPrefix(c, prefix), g)
		}
	}
	return r
}

// judgeLag bounds the lag that lasts for two samples: one that a sample sees may
// be that of old lines which a stream passes while it looks for its place.
func judgeLag(h history, limit time.Duration) row {
	worst := 0.0
	for i := 1; i < len(h); i++ {
		worst = max(worst, min(h[i-1].get(colLag), h[i].get(colLag)))
	}
	return row{critLag, fmt.Sprintf("<= %.0f s", limit.Seconds()), fmt.Sprintf("at most %.1f s", worst), worst <= limit.Seconds()}
}

func judgeCPU(h history, limit float64) row {
	used := increase(h.of(colCPU))
	percent := 100 * used / h[len(h)-1].at.Sub(h[0].at).Seconds()
	return row{critCPU, fmt.Sprintf("<= %g %% of a core", limit), fmt.Sprintf("%.2f %%", percent), percent <= limit}
}

// judgeFullPool wants all leases in use. A stream that is being rotated is
// closed for a moment, so the middle of the samples counts, with one to spare.
func judgeFullPool(h history) row {
	streams, capacity := h.of(colStreams), h[len(h)-1].get(colCapacity)
	highest, middle := slices.Max(streams), median(streams)
	return row{
		critPool, fmt.Sprintf("%.0f/%.0f", capacity, capacity),
		fmt.Sprintf("%.0f/%.0f, mostly %.0f, for %.0f containers", highest, capacity, middle, h[len(h)-1].get(colContainers)),
		highest == capacity && middle >= capacity*0.9-1,
	}
}

func judgeHealthy(h history, busy bool) row {
	bad, worst, reasons := 0, 0.0, ""
	for i := range h {
		health := h[i].get(colHealth)
		if h[i].get(colUp) == 0 {
			health = 3
		}
		if health == 0 {
			continue
		}
		bad++
		if health > worst {
			worst, reasons = health, h[i].reasons
		}
	}
	r := row{critHealth, "HEALTHY", []string{"HEALTHY", "DEGRADED", "UNHEALTHY", "NO ANSWER"}[int(worst)], bad == 0}
	if busy {
		r.want, r.pass = "HEALTHY in four of five samples", bad <= len(h)/5
	}
	if bad > 0 {
		r.got += fmt.Sprintf(" in %d of %d samples: %s", bad, len(h), reasons)
	}
	return r
}

func judgeOwnVerdict(h history) row {
	r := row{critSteady, "never growing", "never growing", true}
	bad := 0
	for i := range h {
		if h[i].get(colGrowing) != 0 {
			bad++
			r.got, r.pass = fmt.Sprintf("growing in %d of %d samples: %s", bad, len(h), h[i].reasons), false
		}
	}
	return r
}

func judgeWait(h history, slack time.Duration) row {
	r := row{critWait, "within the agent's bound", "", true}
	if slack > 0 {
		r.want += fmt.Sprintf(" and %v", slack)
	}
	worst := math.Inf(-1)
	for i := range h {
		wait, bound := h[i].get(colWait), h[i].get(colBound)
		if wait-bound > worst {
			worst = wait - bound
			r.got = fmt.Sprintf("%.2f s, bound %.2f s", wait, bound)
		}
		r.pass = r.pass && wait <= bound+slack.Seconds()
	}
	return r
}

func (o *outcome) judgeLines() row {
	l := &o.lines
	r := row{critLines, "once, whole, in order", "", false}
	if o.scenario.Criteria.Repeats {
		r.want = "whole, in order"
	}
	if l.err != nil || l.report == nil {
		r.got = fmt.Sprintf("not counted: %v", l.err)
		return r
	}
	r.pass = l.ok(o.scenario.Criteria.Repeats)
	r.got = fmt.Sprintf("%d written, %d delivered, the last after %.1f s", l.written, l.delivered, l.settled.Seconds())
	if l.kept != nil {
		r.got += fmt.Sprintf("; the engine itself has lost %d", l.kept.Missing)
	}
	if !r.pass || l.report.Repeated > 0 {
		r.got += "; " + l.report.String()
	}
	return r
}

// ok reports whether every line that there was to deliver was delivered.
func (l *lineCount) ok(repeats bool) bool {
	report := *l.report
	if l.kept != nil {
		// What was on its way inside the engine when it was killed is lost for
		// everybody.
		if report.Missing != l.kept.Missing || report.Distinct != l.kept.Distinct {
			return false
		}
		report.Missing = 0
	}
	if l.written == 0 {
		return false
	}
	if repeats {
		return report.OKButRepeated()
	}
	return report.OK()
}
