package selfwatch

import "slices"

const (
	// minSamples are the fewest samples that are judged.
	minSamples = 12
	// maxPoints are the most samples that are compared: the cost grows with
	// their square.
	maxPoints = 60
	// minAgreement is the least agreement of what counts as growing: what rises
	// and falls, as a heap does between collections, is not.
	minAgreement = 0.6
)

// minRise is how much a resource must have risen over the window to be growing.
var minRise = map[string]float64{
	resourceGoroutines: 10,
	resourceFDs:        10,
	resourceHeap:       32 << 20,
}

// tooMuch reports whether a number grows. Resident memory is shown and not
// judged: what the runtime gives back to the system, and when, is its own
// affair.
func tooMuch(g Growth, minutes float64) bool {
	least, judged := minRise[g.Resource]
	return judged && g.PerMinute*minutes >= least && g.Agreement >= minAgreement
}

// value returns the sample's i-th number.
func (s *sample) value(i int) float64 {
	if i >= len(s.values) {
		return 0
	}
	return s.values[i]
}

// thin returns at most maxPoints of the samples, evenly, the first and the last
// among them.
func thin(samples []sample) []sample {
	if len(samples) <= maxPoints {
		return samples
	}
	thinned := make([]sample, maxPoints)
	for i := range thinned {
		thinned[i] = samples[i*(len(samples)-1)/(maxPoints-1)]
	}
	return thinned
}

// pair is two samples, by index, the earlier first.
type pair struct{ a, b int }

// equalLoad returns the pairs of samples of equal load.
func equalLoad(samples []sample) []pair {
	var pairs []pair
	for a := range samples {
		for b := a + 1; b < len(samples); b++ {
			if samples[a].load == samples[b].load && samples[b].at.After(samples[a].at) {
				pairs = append(pairs, pair{a, b})
			}
		}
	}
	return pairs
}

// trend returns the slope of the i-th number: the median of the slopes of all
// pairs (Theil and Sen), which up to a quarter of outliers does not move. slopes
// is scratch space, one for each pair.
func trend(samples []sample, pairs []pair, i int, slopes []float64) Growth {
	rising := 0
	for n, p := range pairs {
		a, b := &samples[p.a], &samples[p.b]
		d := b.value(i) - a.value(i)
		switch {
		case d > 0:
			rising++
		case d < 0:
			rising--
		}
		slopes[n] = d / b.at.Sub(a.at).Minutes()
	}
	slices.Sort(slopes)
	middle := (slopes[(len(slopes)-1)/2] + slopes[len(slopes)/2]) / 2
	last := samples[len(samples)-1]
	return Growth{PerMinute: middle, Agreement: float64(rising) / float64(len(pairs)), Now: last.value(i)}
}
