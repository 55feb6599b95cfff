package main

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// plot is a diagram of some columns over time.
type plot struct {
	title  string
	begin  time.Time
	series []curve
}

// curve is one line of a plot.
type curve struct {
	name   string
	points []plotPoint
}

// plotPoint is a value at a number of seconds after the beginning.
type plotPoint struct{ seconds, value float64 }

// plots returns the plots of a report.
func plots(h history) []plot {
	trimmed := func(prefix string) func(string) string {
		return func(column string) string { return strings.TrimPrefix(column, prefix) }
	}
	same := func(column string) string { return column }
	const mib = 1 << 20
	return []plot{
		h.plot("goroutines by component", 1, trimmed(byComponent), append([]string{colGoroutines}, h.columns(byComponent)...)...),
		h.plot("file descriptors by kind", 1, trimmed(byKind), append([]string{colFDs}, h.columns(byKind)...)...),
		h.plot("memory, MiB", mib, same, colMemory, colHeap),
		h.plot("streams and leases", 1, same, colStreams, colCapacity, colContainers),
		h.plot("rotations", 1, same, colRotations, colReopens),
		h.plot("lag and longest wait, seconds", 1, same, colLag, colWait, colBound),
		h.plot("lines", 1, same, colWritten, colDelivered, colQueued),
	}
}

// plot returns a plot of columns, in a unit.
func (h history) plot(title string, unit float64, name func(string) string, columns ...string) plot {
	p := plot{title: title}
	if len(h) == 0 {
		return p
	}
	p.begin = h[0].at
	for _, column := range columns {
		s := curve{name: name(column)}
		for _, r := range h {
			if v, ok := r.values[column]; ok {
				s.points = append(s.points, plotPoint{r.at.Sub(p.begin).Seconds(), v / unit})
			}
		}
		if len(s.points) > 0 {
			p.series = append(p.series, s)
		}
	}
	return p
}

// The measures of a plot, in its own units.
const (
	plotWidth, plotHeight = 960, 300
	plotLeft, plotRight   = 70, 190
	plotTop, plotBottom   = 30, 30
)

// plotColours are told apart by most eyes (Okabe and Ito).
var plotColours = []string{"#000000", "#e69f00", "#0072b2", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8a7d00"}

// svg draws the plot.
func (p plot) svg() string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s" font-family="system-ui, sans-serif" font-size="12">`,
		plotWidth, plotHeight, html.EscapeString(p.title))
	fmt.Fprintf(&b, `<text x="%d" y="18" font-size="15" font-weight="600">%s</text>`, plotLeft, html.EscapeString(p.title))
	seconds, top := 1.0, 1.0
	for _, s := range p.series {
		for _, point := range s.points {
			seconds, top = max(seconds, point.seconds), max(top, point.value)
		}
	}
	step := niceStep(top / 5)
	top = math.Ceil(top/step) * step
	x := func(s float64) float64 { return plotLeft + s/seconds*(plotWidth-plotLeft-plotRight) }
	y := func(v float64) float64 { return plotHeight - plotBottom - v/top*(plotHeight-plotTop-plotBottom) }
	for v := 0.0; v <= top+step/2; v += step {
		fmt.Fprintf(&b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#e4e4e4"/>`, plotLeft, y(v), plotWidth-plotRight, y(v))
		fmt.Fprintf(&b, `<text x="%d" y="%.1f" text-anchor="end">%s</text>`, plotLeft-6, y(v)+4, strconv.FormatFloat(v, 'g', 6, 64))
	}
	for i := range 5 {
		s := seconds * float64(i) / 4
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`, x(s), plotHeight-10,
			time.Duration(s*float64(time.Second)).Round(time.Second))
	}
	// The legend names the highest first, as they are seen.
	order := slices.Clone(p.series)
	slices.SortStableFunc(order, func(a, b curve) int { return -cmpFloat(last(a), last(b)) })
	for i, s := range order {
		colour := plotColours[i%len(plotColours)]
		dash := ""
		if i >= len(plotColours) {
			dash = ` stroke-dasharray="4 3"`
		}
		b.WriteString(`<polyline fill="none" stroke-width="1.5" stroke="` + colour + `"` + dash + ` points="`)
		for _, point := range s.points {
			fmt.Fprintf(&b, "%.1f,%.1f ", x(point.seconds), y(point.value))
		}
		b.WriteString(`"/>`)
		row := plotTop + 8 + 16*i
		fmt.Fprintf(&b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke-width="2" stroke="%s"%s/>`,
			plotWidth-plotRight+10, row, plotWidth-plotRight+26, row, colour, dash)
		fmt.Fprintf(&b, `<text x="%d" y="%d">%s: %s</text>`, plotWidth-plotRight+31, row+4,
			html.EscapeString(s.name), strconv.FormatFloat(last(s), 'g', 5, 64))
	}
	b.WriteString("</svg>")
	return b.String()
}

// last returns a curve' last value.
func last(s curve) float64 { return s.points[len(s.points)-1].value }

// niceStep returns the smallest of 1, 2 and 5 times a power of ten that is not
// below a step.
func niceStep(step float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(step)))
	for _, factor := range []float64{1, 2, 5} {
		if factor*power >= step {
			return factor * power
		}
	}
	return 10 * power
}
