package main

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// series returns points that are step apart.
func series(n int, step time.Duration, value func(i int) float64) []point {
	points := make([]point, n)
	for i := range points {
		points[i] = point{at: t0.Add(time.Duration(i) * step), value: value(i)}
	}
	return points
}

func TestTrend(t *testing.T) {
	f := func(name string, points []point, want, within float64) {
		t.Helper()
		if got := trend(points); math.Abs(got-want) > within {
			t.Errorf("%s: %.3f/min, want %.3f", name, got, want)
		}
	}
	noise := rand.New(rand.NewPCG(1, 2))
	f("nothing", nil, 0, 0)
	f("one point", series(1, time.Second, func(int) float64 { return 7 }), 0, 0)
	f("constant", series(120, 30*time.Second, func(int) float64 { return 177 }), 0, 0)
	f("a line", series(120, 30*time.Second, func(i int) float64 { return 100 + 1.5*float64(i) }), 3, 1e-9)
	f("falling", series(10, time.Second, func(i int) float64 { return -float64(i) }), -60, 1e-9)
	f("noise", series(120, 30*time.Second, func(int) float64 { return 177 + float64(noise.IntN(5)) }), 0, 0.05)
	f("a slow leak in noise", series(120, 30*time.Second, func(i int) float64 { return 177 + float64(i) + float64(noise.IntN(5)) }), 2, 0.05)
	f("outliers", series(100, time.Second, func(i int) float64 {
		if i%10 == 9 {
			return 5000
		}
		return 10
	}), 0, 1e-9)
	f("a leak over many points", series(3600, time.Second, func(i int) float64 { return float64(i / 20) }), 3, 0.02)

	// Three goroutines a stream, and streams that are opened in mid-course.
	streams := series(40, time.Second, func(i int) float64 { return 20 })
	for i := range streams {
		if streams[i].group = 10; i >= 20 {
			streams[i].group = 50
		}
		streams[i].value += 3 * streams[i].group
	}
	f("streams come", streams, 0, 1e-9)
	for i := range streams {
		streams[i].value += float64(i) / 6
	}
	f("streams come and something leaks", streams, 10, 1e-9)
	// A number of streams that is never the same twice tells nothing.
	for i := range streams {
		streams[i].group, streams[i].value = float64(i), float64(i)
	}
	f("no two alike", streams, 60, 1e-9)
}

func TestGrowthAndIncrease(t *testing.T) {
	f := func(name string, got, want float64) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	f("growth of one", growth([]float64{5}), 0)
	f("growth", growth([]float64{1, 2, 3, 4, 100, 6, 7, 8}), 7)
	f("growth with an outlier", growth([]float64{10, 10, 900, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 900, 10}), 0)
	f("increase", increase([]float64{5, 7, 7, 10}), 5)
	f("increase over a restart", increase([]float64{5, 7, 2, 3}), 5)
	f("increase of one", increase([]float64{5}), 0)
	f("median of an even number", median([]float64{4, 1, 3, 2}), 2.5)
}
