package main

import (
	"slices"
	"time"
)

// point is a value at a time, with what it depends on besides time.
type point struct {
	at time.Time
	// group keeps apart what can't be compared: only points of one group are.
	group float64
	value float64
}

// trendLimit bounds the points that a trend is computed from: its cost grows
// with their square.
const trendLimit = 500

// trend returns how fast the values grow, per minute: the median of the slopes
// of all pairs of points (Theil and Sen), which a few outliers do not move. Only
// pairs of one group count, so that a number that follows another one, as
// goroutines follow streams, is not taken for growth; when there are too few of
// these, all pairs count.
func trend(points []point) float64 {
	if len(points) > trendLimit {
		thinned := make([]point, trendLimit)
		for i := range thinned {
			thinned[i] = points[i*(len(points)-1)/(trendLimit-1)]
		}
		points = thinned
	}
	same := slopes(points, func(a, b point) bool { return a.group == b.group })
	if len(same) < len(points) {
		same = slopes(points, func(a, b point) bool { return true })
	}
	return median(same)
}

// slopes returns the slopes per minute of the pairs that match.
func slopes(points []point, match func(a, b point) bool) []float64 {
	var all []float64
	for i, a := range points {
		for _, b := range points[i+1:] {
			if minutes := b.at.Sub(a.at).Minutes(); minutes > 0 && match(a, b) {
				all = append(all, (b.value-a.value)/minutes)
			}
		}
	}
	return all
}

// median returns the middle value, 0 of no values. It sorts them.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// growth returns the rise from the median of the first tenth of the values to that
// of the last.
func growth(values []float64) float64 {
	n := (len(values) + 9) / 10
	first, last := slices.Clone(values[:n]), slices.Clone(values[len(values)-n:])
	return median(last) - median(first)
}

// increase returns how much a counter rose over its readings. A reading below
// the one before it begins anew at zero.
func increase(readings []float64) float64 {
	sum := 0.0
	for i := 1; i < len(readings); i++ {
		if d := readings[i] - readings[i-1]; d >= 0 {
			sum += d
		} else {
			sum += readings[i]
		}
	}
	return sum
}
