package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"log_capturer/internal/testkit/scrape"
)

// The columns of a reading that criteria and plots name.
const (
	colUp         = "up" // 1 when the agent answered
	colPID        = "pid"
	colGoroutines = "goroutines"
	colFDs        = "fds"
	colMemory     = "memory_bytes"
	colHeap       = "heap_bytes"
	colCPU        = "cpu_seconds"
	colStreams    = "streams"
	colCapacity   = "capacity"
	colContainers = "containers"
	colRotations  = "rotations"
	colReopens    = "reopens"
	colLag        = "lag_seconds"
	colWait       = "longest_wait_seconds"
	colBound      = "wait_bound_seconds"
	colGaps       = "suspected_gaps"
	colOverdue    = "overdue_goroutines"
	colGrowing    = "growing" // 1 while the agent says that something grows
	colQueued     = "queued_records"
	colHealth     = "health" // 0 healthy, 1 degraded, 2 unhealthy
	colWritten    = "lines_written"
	colDelivered  = "lines_delivered"

	// byComponent and byKind begin the columns of goroutines by component and
	// of file descriptors by kind.
	byComponent = "goroutines."
	byKind      = "fds."
	// overdueOf begins the columns of overdue goroutines by component.
	overdueOf = "overdue."
)

// reading is what the lab saw at one moment: numbers by column. What could not
// be read is absent.
type reading struct {
	at      time.Time
	values  map[string]float64
	reasons string // why the agent is not healthy
}

func (r *reading) get(column string) float64 { return r.values[column] }

// history is what a run came to, in time.
type history []reading

// columns returns the names of all columns that begin with prefix.
func (h history) columns(prefix string) []string {
	seen := map[string]bool{}
	for _, r := range h {
		for column := range r.values {
			if strings.HasPrefix(column, prefix) {
				seen[column] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// up returns the readings that the agent answered.
func (h history) up() history {
	return slices.DeleteFunc(slices.Clone(h), func(r reading) bool { return r.get(colUp) == 0 })
}

// after returns the readings from a moment on.
func (h history) after(at time.Time) history {
	return slices.DeleteFunc(slices.Clone(h), func(r reading) bool { return r.at.Before(at) })
}

// of returns the values of a column.
func (h history) of(column string) []float64 {
	values := make([]float64, len(h))
	for i := range h {
		values[i] = h[i].get(column)
	}
	return values
}

// writeCSV writes a row for each reading.
func (h history) writeCSV(w io.Writer) error {
	columns := h.columns("")
	out := csv.NewWriter(w)
	_ = out.Write(append([]string{"time"}, columns...)) // Error says it
	for _, r := range h {
		row := []string{r.at.UTC().Format(time.RFC3339Nano)}
		for _, column := range columns {
			text := ""
			if v, ok := r.values[column]; ok {
				text = strconv.FormatFloat(v, 'g', -1, 64)
			}
			row = append(row, text)
		}
		_ = out.Write(row)
	}
	out.Flush()
	return out.Error()
}

// metricColumns are the metrics whose sums make a column.
var metricColumns = map[string]string{
	"log_capturer_goroutines":                  colGoroutines,
	"log_capturer_heap_bytes":                  colHeap,
	"log_capturer_active_streams":              colStreams,
	"log_capturer_stream_pool_capacity":        colCapacity,
	"log_capturer_stream_rotations_total":      colRotations,
	"log_capturer_stream_reopens_total":        colReopens,
	"log_capturer_lag_seconds":                 colLag,
	"log_capturer_stream_longest_wait_seconds": colWait,
	"log_capturer_stream_wait_bound_seconds":   colBound,
	"log_capturer_suspected_gaps_total":        colGaps,
	"log_capturer_overdue_goroutines_total":    colOverdue,
	"log_capturer_growing":                     colGrowing,
	"log_capturer_queue_records":               colQueued,
}

// observe takes a reading: from outside what the kernel knows of the process,
// and from the agent what only it knows.
func observe(ctx context.Context, p *process) reading {
	r := reading{at: time.Now(), values: map[string]float64{colUp: 0}}
	pid, running := p.pid()
	if !running {
		r.reasons = "the agent does not run"
		return r
	}
	r.values[colPID] = float64(pid)
	if err := observeProcess(pid, r.values); err != nil {
		r.reasons = err.Error()
		return r
	}
	if err := observeAgent(ctx, p, &r); err != nil {
		r.reasons = err.Error()
		return r
	}
	r.values[colUp] = 1
	return r
}

func observeProcess(pid int, values map[string]float64) error {
	dir := fmt.Sprintf("/proc/%d/", pid)
	entries, err := os.ReadDir(dir + "fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		target, err := os.Readlink(dir + "fd/" + e.Name())
		if err != nil {
			continue // closed meanwhile
		}
		values[colFDs]++
		values[byKind+fdKind(target)]++
	}
	if values[colMemory], err = residentMemory(pid); err != nil {
		return err
	}
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return err
	}
	// pid (name) state ...; utime and stime are fields 14 and 15, in hundredths
	// of a second (proc(5), and USER_HZ on every Linux that Go runs on).
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 13 {
		return fmt.Errorf("%sstat has %d fields", dir, len(fields))
	}
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return err
		}
		values[colCPU] += ticks / 100
	}
	return nil
}

// fdKind names what a descriptor is, from what /proc says it points at.
func fdKind(target string) string {
	switch {
	case strings.HasPrefix(target, "socket:"):
		return "socket"
	case strings.HasPrefix(target, "pipe:"):
		return "pipe"
	case target == "anon_inode:inotify":
		return "inotify"
	case strings.HasPrefix(target, "anon_inode:"):
		return "other"
	default:
		return "file"
	}
}

func observeAgent(ctx context.Context, p *process, r *reading) error {
	body, err := fetch(ctx, p.api+"/health")
	if err != nil {
		return err
	}
	var health struct {
		Status     string
		Components []struct{ Name, Status, Reason string }
	}
	if err := json.Unmarshal(body, &health); err != nil {
		return fmt.Errorf("decode /health: %w", err)
	}
	r.values[colHealth] = float64(slices.Index([]string{"healthy", "degraded", "unhealthy"}, health.Status))
	for _, c := range health.Components {
		if c.Status != "healthy" {
			r.reasons += c.Name + ": " + c.Reason + ". "
		}
	}
	samples, err := scrape.Get(ctx, asker, p.metrics+"/metrics")
	if err != nil {
		return err
	}
	for name, column := range metricColumns {
		sum, ok := samples.Sum(name)
		if !ok {
			return fmt.Errorf("the agent has no metric %s", name)
		}
		r.values[column] = sum
	}
	for _, s := range samples.Find("log_capturer_goroutines_by_component") {
		r.values[byComponent+s.Labels["component"]] = s.Value
	}
	for _, s := range samples.Find("log_capturer_overdue_goroutines_total") {
		r.values[overdueOf+s.Labels["component"]] = s.Value
	}
	for _, state := range []string{"reading", "waiting", "idle"} {
		n, _ := samples.Sum("log_capturer_containers", "state", state)
		r.values[colContainers] += n
	}
	return nil
}

// line returns the reading as a line of progress.
func (r *reading) line(begin time.Time) string {
	head := fmt.Sprintf("%8s", "+"+r.at.Sub(begin).Round(time.Second).String())
	if r.get(colUp) == 0 {
		return fmt.Sprintf("%s  no answer: %s  written %.0f delivered %.0f", head, r.reasons, r.get(colWritten), r.get(colDelivered))
	}
	text := fmt.Sprintf("%s  goroutines %3.0f  fds %3.0f  memory %5.1f MiB  streams %.0f/%.0f  rotations %.0f  lag %.1f s  written %.0f  delivered %.0f",
		head, r.get(colGoroutines), r.get(colFDs), r.get(colMemory)/(1<<20), r.get(colStreams), r.get(colCapacity),
		r.get(colRotations), r.get(colLag), r.get(colWritten), r.get(colDelivered))
	if r.reasons != "" {
		text += "  " + r.reasons
	}
	return text
}
