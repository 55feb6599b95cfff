package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"log_capturer/internal/server"
)

// topView is what top shows: a picture made from the last two samples, and what
// the user chose to see of it. It knows no terminal.
type topView struct {
	last, previous sample // the last one that came, and the one before
	// failed is why the agent does not answer, and since when; nil while it does.
	failed      error
	failedSince time.Time

	sort    key
	reverse bool
	filter  string
	typing  bool // the filter
	still   bool
	scroll  int

	width, height int // height 0 means that there is no bound
	color         bool
}

func newTopView(first sample) *topView {
	return &topView{last: first, previous: first, sort: 'l', width: 80}
}

// add takes in a sample.
func (v *topView) add(s sample) {
	if v.still {
		return
	}
	if s.err != nil {
		if v.failed == nil {
			v.failedSince = time.Now()
		}
		v.failed = s.err
		return
	}
	v.failed = nil
	v.previous, v.last = v.last, s
	if v.previous.status.PID != s.status.PID {
		v.previous = s // the counters began anew
	}
}

// press does what a key is for. It returns false for the one that ends it all.
func (v *topView) press(k key) bool {
	if k == keyInterrupt {
		return false
	}
	if v.typing {
		switch k {
		case keyEnter:
			v.typing = false
		case keyEscape:
			v.typing, v.filter = false, ""
		case keyBackspace:
			if runes := []rune(v.filter); len(runes) > 0 {
				v.filter = string(runes[:len(runes)-1])
			}
		default:
			if k >= ' ' && k < keyUp {
				v.filter += string(rune(k))
			}
		}
		v.scroll = 0
		return true
	}
	page := max(1, v.height-len(v.head())-2)
	switch k {
	case 'q':
		return false
	case 'n', 's', 'g', 'l', 'b', 't':
		v.sort, v.scroll = k, 0
	case 'r':
		v.reverse, v.scroll = !v.reverse, 0
	case '/':
		v.typing, v.scroll = true, 0
	case keyEscape:
		v.filter, v.scroll = "", 0
	case ' ':
		v.still = !v.still
	case 'j', keyDown:
		v.scroll++
	case 'k', keyUp:
		v.scroll--
	case keyPageDown:
		v.scroll += page
	case keyPageUp:
		v.scroll -= page
	case keyHome:
		v.scroll = 0
	case keyEnd:
		v.scroll = len(v.last.containers)
	}
	return true
}

// row is a container with its rates.
type row struct {
	*server.Container
	lines, bytes float64 // a second
}

// rows returns the containers to show, in order.
func (v *topView) rows() []row {
	before := map[string]*server.Container{}
	for i := range v.previous.containers {
		before[v.previous.containers[i].ID] = &v.previous.containers[i]
	}
	seconds := v.last.at.Sub(v.previous.at).Seconds()
	var rows []row
	for i := range v.last.containers {
		c := &v.last.containers[i]
		text := strings.ToLower(c.Name + " " + c.Image + " " + string(c.State))
		if !strings.Contains(text, strings.ToLower(v.filter)) {
			continue
		}
		r := row{Container: c}
		if old := before[c.ID]; old != nil {
			r.lines, r.bytes = rate(old.Lines, c.Lines, seconds), rate(old.Bytes, c.Bytes, seconds)
		}
		rows = append(rows, r)
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		order := v.compare(a, b)
		if v.reverse {
			order = -order
		}
		return cmp.Or(order, cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return rows
}

// compare orders two containers by what they are sorted by: numbers from the
// largest, words from the first.
func (v *topView) compare(a, b row) int {
	switch v.sort {
	case 's':
		return cmp.Compare(slices.Index(states, string(a.State)), slices.Index(states, string(b.State)))
	case 'g':
		return cmp.Compare(b.LagSeconds, a.LagSeconds)
	case 'l':
		return cmp.Compare(b.lines, a.lines)
	case 'b':
		return cmp.Compare(b.bytes, a.bytes)
	case 't':
		return cmp.Compare(b.Lines, a.Lines)
	}
	return cmp.Compare(a.Name, b.Name)
}

// rate returns how much a counter grew a second.
func rate(before, now uint64, seconds float64) float64 {
	if seconds <= 0 || now < before {
		return 0
	}
	return float64(now-before) / seconds
}

// lines returns the picture.
func (v *topView) lines() []string {
	lines := v.head()
	rows := v.rows()
	room := len(rows)
	if v.height > 0 {
		room = max(0, v.height-len(lines)-2) // the table's head, and the last line
	}
	v.scroll = max(0, min(v.scroll, len(rows)-room))
	lines = append(lines, v.style(styleHead, v.fit(containerLine(
		"NAME", "STATE", "VIA", "LEASE", "LAG", "LINES/S", "BYTES/S", "LINES", "GAPS", "REASON"))))
	for _, r := range rows[v.scroll:min(len(rows), v.scroll+room)] {
		lease := "-"
		if r.Lease {
			lease = "yes"
		}
		lines = append(lines, v.style(stateStyle(r.State), v.fit(containerLine(
			printable(r.Name), string(r.State), cmp.Or(r.Transport, "-"), lease, lagText(r.LagSeconds),
			count(r.lines), bytesText(r.bytes), count(float64(r.Lines)), count(float64(r.SuspectedGaps)), printable(r.Reason)))))
	}
	if v.height == 0 {
		return lines
	}
	for len(lines) < v.height-1 {
		lines = append(lines, "")
	}
	lines = lines[:max(0, v.height-1)]
	return append(lines, v.fit(v.footer(len(rows), room)))
}

// containerLine lays out a line of the containers' table.
func containerLine(name, state, via, lease, lag, lines, bytes, total, gaps, reason string) string {
	return fmt.Sprintf("%-30s %-10s %-4s %-5s %8s %9s %10s %9s %5s  %s",
		cut(name, 30), state, via, lease, lag, lines, bytes, total, gaps, reason)
}

// footer says what can be done, or what is being typed.
func (v *topView) footer(rows, room int) string {
	if v.typing {
		return "filter: " + v.filter + "_   Enter keeps it, Esc shows all"
	}
	var notes []string
	if v.filter != "" {
		notes = append(notes, "filter: "+v.filter)
	}
	if v.still {
		notes = append(notes, "standing still")
	}
	if rows > room {
		notes = append(notes, fmt.Sprintf("%d-%d of %d", v.scroll+1, min(rows, v.scroll+room), rows))
	}
	names := map[key]string{'n': "name", 's': "state", 'g': "lag", 'l': "lines/s", 'b': "bytes/s", 't': "lines"}
	order := "by " + names[v.sort]
	if v.reverse {
		order += ", reversed"
	}
	notes = append(notes, order, "sort: n s g l b t, r  filter: /  scroll: j k  still: space  quit: q")
	return strings.Join(notes, " | ")
}

// head returns the lines about the agent and its sinks.
func (v *topView) head() []string {
	s := &v.last.status
	lines := []string{v.fit(fmt.Sprintf("log_capturer %s on %s, up %s: %s", printable(s.Version), printable(s.Host),
		short(time.Duration(s.UptimeSeconds*float64(time.Second))), v.last.health.Status))}
	if v.failed != nil {
		lines[0] = v.style(styleBad, v.fit(fmt.Sprintf("for %s: %v", short(time.Since(v.failedSince)), v.failed)))
	} else if v.last.health.Status != "healthy" {
		lines[0] = v.style(styleBad, lines[0])
	}
	seconds := v.last.at.Sub(v.previous.at).Seconds()
	cpu := 0.0
	if seconds > 0 {
		cpu = max(0, s.Process.CPUSeconds-v.previous.status.Process.CPUSeconds) / seconds * 100
	}
	lines = append(lines, v.fit(fmt.Sprintf("goroutines %d   open files %d   memory %s   cpu %.1f%%",
		s.Process.Goroutines, s.Process.OpenFDs, bytesText(float64(s.Process.ResidentBytes)), cpu)))
	lines = append(lines, v.fit(v.totals()))
	for _, c := range v.last.health.Components {
		if c.Status != "healthy" {
			lines = append(lines, v.style(styleBad, v.fit(fmt.Sprintf("  %s is %s: %s", c.Name, c.Status, printable(c.Reason)))))
		}
	}
	lines = append(lines, "", v.style(styleHead, v.fit(sinkLine("SINK", "TYPE", "RECORDS/S", "WAITING", "QUEUE", "FULL", "SPOOLED", "RECORDS", "FAILED", "DEAD"))))
	before := map[string]server.Sink{}
	for _, sink := range v.previous.status.Sinks {
		before[sink.Name] = sink
	}
	for _, sink := range s.Sinks {
		full := 0.0
		if sink.QueueCapacityBytes > 0 {
			full = float64(sink.QueueBytes) / float64(sink.QueueCapacityBytes) * 100
		}
		lines = append(lines, v.fit(sinkLine(printable(sink.Name), sink.Type,
			count(rate(before[sink.Name].Acknowledged, sink.Acknowledged, seconds)), count(float64(sink.InMemory)),
			bytesText(float64(sink.QueueBytes)), fmt.Sprintf("%.0f%%", full), count(float64(sink.Spooled)),
			count(float64(sink.Acknowledged)), count(float64(sink.FailedAttempts)), count(float64(sink.DeadLettered)))))
	}
	return append(lines, "")
}

// sinkLine lays out a line of the sinks' table.
func sinkLine(name, typ, rate, waiting, queue, full, spooled, total, failed, dead string) string {
	return fmt.Sprintf("%-30s %-14s %9s %9s %10s %6s %8s %9s %7s %5s", cut(name, 30), typ, rate, waiting, queue, full, spooled, total, failed, dead)
}

// totals sums up the containers.
func (v *topView) totals() string {
	sum := func(s *sample) (lines, bytes uint64, leases int) {
		for i := range s.containers {
			c := &s.containers[i]
			lines, bytes = lines+c.Lines, bytes+c.Bytes
			if c.Lease {
				leases++
			}
		}
		return lines, bytes, leases
	}
	seconds := v.last.at.Sub(v.previous.at).Seconds()
	lines, bytes, leases := sum(&v.last)
	linesBefore, bytesBefore, _ := sum(&v.previous)
	byState := map[server.State]int{}
	for i := range v.last.containers {
		byState[v.last.containers[i].State]++
	}
	text := fmt.Sprintf("containers %d", len(v.last.containers))
	separator := ": "
	for _, state := range states {
		if n := byState[server.State(state)]; n > 0 {
			text += fmt.Sprintf("%s%d %s", separator, n, state)
			separator = ", "
		}
	}
	return text + fmt.Sprintf("   leases %d   %s lines/s   %s/s", leases,
		count(rate(linesBefore, lines, seconds)), bytesText(rate(bytesBefore, bytes, seconds)))
}

// style is a way to show a line, as parameters of SGR.
type style string

const (
	styleNone  style = ""
	styleHead  style = "7"
	styleBad   style = "31"
	styleFaint style = "2"
	styleWarn  style = "33"
)

func stateStyle(s server.State) style {
	switch s {
	case server.Error, server.Unreadable:
		return styleBad
	case server.Waiting:
		return styleWarn
	case server.Stopped, server.Excluded:
		return styleFaint
	}
	return styleNone
}

func (v *topView) style(s style, line string) string {
	if !v.color || s == styleNone {
		return line
	}
	return "\x1b[" + string(s) + "m" + line + "\x1b[0m"
}

// fit cuts a line at the width of the screen.
func (v *topView) fit(line string) string { return cut(line, v.width) }

// cut cuts a text to n characters, the last of which then says so.
func cut(text string, n int) string {
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	if n <= 0 {
		return ""
	}
	return string(runes[:n-1]) + "…"
}
