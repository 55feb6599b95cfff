package selfwatch

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// The resources whose growth is watched.
const (
	resourceGoroutines = "goroutines"
	resourceFDs        = "fds"
	resourceHeap       = "heap"
	resourceResident   = "resident"
)

// all is the part of a resource that is all of it.
const all = "all"

// key names a number that is sampled: a resource, and of it a component or
// kind, or all.
type key struct{ resource, part string }

// maxKeys bounds the numbers that are sampled. Components are bounded already.
const maxKeys = 2 * maxComponents

// history keeps the samples of a sliding window, and what they come to.
type history struct {
	limit int

	mu      sync.Mutex
	keys    map[key]int // to the index of the samples' values
	samples []sample
	trends  []Growth // of the samples; nil when they are to be computed
}

// sample is the numbers of one moment.
type sample struct {
	at     time.Time
	load   int
	values []float64 // by index; a short one ends in zeros
}

func (h *history) add(at time.Time, load int, values map[key]float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.keys == nil {
		h.keys = map[key]int{}
	}
	s := sample{at: at, load: load, values: make([]float64, len(h.keys), len(h.keys)+len(values))}
	for k, v := range values {
		i, known := h.keys[k]
		if !known {
			if len(h.keys) >= maxKeys {
				continue
			}
			i = len(h.keys)
			h.keys[k] = i
			s.values = append(s.values, 0)
		}
		s.values[i] = v
	}
	if len(h.samples) >= h.limit {
		h.samples = slices.Delete(h.samples, 0, len(h.samples)-h.limit+1)
	}
	h.samples = append(h.samples, s)
	h.trends = nil
}

// Growth is how a number has changed over the window.
type Growth struct {
	// Resource is goroutines, fds, heap or resident, and Part the component or
	// kind of it, or all.
	Resource string `json:"resource"`
	Part     string `json:"part"`
	// PerMinute is the slope, in goroutines, descriptors or bytes.
	PerMinute float64 `json:"per_minute"`
	// Agreement is the share of pairs of samples that rise, less the share that
	// fall: 1 for a number that always rises.
	Agreement float64 `json:"agreement"`
	// Now is the last value.
	Now float64 `json:"now"`
	// Growing says that it is judged to grow.
	Growing bool `json:"growing"`
}

// span returns the number of samples and the time between the first and the
// last.
func (h *history) span() (int, time.Time, time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.samples) == 0 {
		return 0, time.Time{}, time.Time{}
	}
	return len(h.samples), h.samples[0].at, h.samples[len(h.samples)-1].at
}

// growth returns the trends of all numbers, computed once for a set of samples,
// and whether there are enough comparable samples to judge by. Do not modify.
func (h *history) growth() ([]Growth, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.trends != nil {
		return h.trends, true
	}
	if len(h.samples) < minSamples {
		return nil, false
	}
	samples := thin(h.samples)
	pairs := equalLoad(samples)
	if len(pairs) < len(samples) {
		return nil, false
	}
	minutes := samples[len(samples)-1].at.Sub(samples[0].at).Minutes()
	slopes := make([]float64, len(pairs))
	for k, i := range h.keys {
		g := trend(samples, pairs, i, slopes)
		g.Resource, g.Part = k.resource, k.part
		g.Growing = tooMuch(g, minutes)
		h.trends = append(h.trends, g)
	}
	slices.SortFunc(h.trends, func(a, b Growth) int {
		return cmp.Or(cmp.Compare(a.Resource, b.Resource), -cmp.Compare(a.PerMinute, b.PerMinute), cmp.Compare(a.Part, b.Part))
	})
	return h.trends, true
}
