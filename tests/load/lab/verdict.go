package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

const (
	// maxGoroutineGrowth is in goroutines per minute, maxFDGrowth in file
	// descriptors.
	maxGoroutineGrowth = 2
	maxFDGrowth        = 100
)

// row is one criterion and what became of it.
type row struct {
	criterion, want, got string
	pass                 bool
}

// lineVerdict is the comparison of lines written and captured.
type lineVerdict struct {
	written, captured uint64
	ok                bool
	// detail says what is wrong, or where the number is from.
	detail string
}

// judge makes the table from all samples. The first fifth is the warm-up and
// counts for rotations only.
func judge(samples []sample, lines lineVerdict) []row {
	answered := slices.DeleteFunc(slices.Clone(samples), func(s sample) bool { return s.err != nil })
	if len(answered) < 2 {
		return []row{
			{"agent answers", "every sample", fmt.Sprintf("%d of %d samples", len(answered), len(samples)), false},
			lines.row(),
		}
	}
	warm := samples[len(samples)/5:]
	steady := answered
	if kept := slices.DeleteFunc(slices.Clone(warm), func(s sample) bool { return s.err != nil }); len(kept) >= 2 {
		steady = kept
	}
	return []row{
		judgeGoroutines(steady),
		judgePool(steady),
		judgeFDs(steady),
		judgeHealth(warm),
		judgeProcess(answered),
		judgeRotations(answered),
		lines.row(),
	}
}

func judgeGoroutines(samples []sample) row {
	var points []point
	for _, s := range samples {
		points = append(points, point{s.at, s.streams, s.goroutines})
	}
	first, last := samples[0], samples[len(samples)-1]
	slope := trend(points)
	// Over seconds, a slope is made of one or two goroutines that come and go.
	rise := slope * last.at.Sub(first.at).Minutes()
	return row{
		"goroutine growth", fmt.Sprintf("< %d/min", maxGoroutineGrowth),
		fmt.Sprintf("%+.2f/min (%.0f -> %.0f)", slope, first.goroutines, last.goroutines),
		slope < maxGoroutineGrowth || rise < maxGoroutineGrowth,
	}
}

// judgePool wants as many streams as there are leases, or containers where these
// are fewer. A stream that is being rotated is closed for a moment, so the most
// that were open at once count.
func judgePool(samples []sample) row {
	var most, capacity, containers float64
	over := false
	for _, s := range samples {
		most, capacity, containers = max(most, s.streams), max(capacity, s.capacity), max(containers, s.containers)
		over = over || s.streams > s.capacity
	}
	want := min(capacity, containers)
	now := samples[len(samples)-1].streams
	r := row{
		"stream pool", fmt.Sprintf("%.0f/%.0f", want, capacity),
		fmt.Sprintf("%.0f/%.0f, now %.0f, containers %.0f", most, capacity, now, containers),
		!over && want > 0 && most >= want,
	}
	if containers < capacity {
		r.got += fmt.Sprintf(" (fewer containers than leases: start %.0f or more to fill it)", capacity)
	}
	return r
}

func judgeFDs(samples []sample) row {
	var values []float64
	for _, s := range samples {
		values = append(values, s.fds)
	}
	g := growth(values)
	return row{
		"FD growth", fmt.Sprintf("< %d", maxFDGrowth),
		fmt.Sprintf("%+.0f (%.0f -> %.0f)", g, values[0], values[len(values)-1]), g < maxFDGrowth,
	}
}

// judgeHealth wants every sample healthy; an agent that does not answer is not.
func judgeHealth(samples []sample) row {
	bad := 0
	worst, reason := "healthy", ""
	rank := []string{"healthy", "degraded", "unhealthy", "no answer"}
	for _, s := range samples {
		health := s.health
		because := strings.Join(s.reasons, "; ")
		if s.err != nil {
			health, because = "no answer", s.err.Error()
		}
		if health == "healthy" {
			continue
		}
		bad++
		if slices.Index(rank, health) > slices.Index(rank, worst) || !slices.Contains(rank, health) {
			worst, reason = health, because
		}
	}
	r := row{"health", "HEALTHY", strings.ToUpper(worst), bad == 0}
	if bad > 0 {
		r.got += fmt.Sprintf(" in %d of %d samples: %s", bad, len(samples), reason)
	}
	return r
}

func judgeProcess(samples []sample) row {
	restarts := 0
	for i := 1; i < len(samples); i++ {
		if samples[i].pid != samples[i-1].pid {
			restarts++
		}
	}
	return row{"agent restarts", "0", fmt.Sprint(restarts), restarts == 0}
}

func judgeRotations(samples []sample) row {
	var readings []float64
	for _, s := range samples {
		readings = append(readings, s.rotations)
	}
	n := increase(readings)
	return row{"rotations", "> 0", fmt.Sprintf("%.0f", n), n > 0}
}

func (v lineVerdict) row() row {
	got := fmt.Sprintf("%d written, %d captured", v.written, v.captured)
	if v.detail != "" {
		got += " (" + v.detail + ")"
	}
	return row{"lines written = captured", "equal", got, v.ok}
}

// printTable writes the table, and reports whether all rows passed.
func printTable(w io.Writer, rows []row) bool {
	pass := true
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "criterion\twanted\tresult\tmeasured")
	for _, r := range rows {
		verdict := "PASS"
		if !r.pass {
			verdict, pass = "FAIL", false
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", r.criterion, r.want, verdict, strings.ReplaceAll(r.got, "\n", "\n\t\t\t"))
	}
	table.Flush()
	return pass
}
