// Package selfwatch measures the agent's own use of the machine, and says
// whether something in it grows that should not.
//
// It owns the census (goroutines by component, file descriptors by kind, memory,
// processor time), the samples of it over a sliding window, and the verdict on
// them: steady or growing, and what. Every number is taken from the runtime or
// the operating system; none is counted along the way, so that a forgotten
// decrement cannot hide a leak. What a goroutine works for comes from the labels
// that package lifetime gives it.
//
// A number that follows the load, as goroutines follow open streams, is no leak:
// only samples of equal load are compared with each other.
package selfwatch

import (
	"bytes"
	"cmp"
	"context"
	"runtime/debug"
	"runtime/pprof"
	"sync"
	"time"

	"log_capturer/internal/lifetime"
)

// maxAge is how long a goroutine profile answers for. Taking one stops the
// program for a moment, so that whoever asks often shares it.
const maxAge = time.Second

// Build says which program is measured.
type Build struct {
	Version, Commit string
}

// Options say how a Watcher watches. The zero Options are good.
type Options struct {
	Build Build
	// Interval is the time between samples, 10 seconds when zero; Window how
	// far back they are compared, half an hour; WarmUp what is left out after
	// the start, 5 minutes.
	Interval, Window, WarmUp time.Duration
	// Load returns what the numbers legitimately follow: the number of
	// containers that are read now. Nil is a constant load.
	Load func() int
	// Held returns the bytes that the agent holds on purpose, in its queues;
	// they count for no growth of the heap. Nil is none.
	Held func() int64
	// Overdue is the account of goroutines that were given up, nil for none.
	Overdue *lifetime.Watch
}

// Watcher measures the process that it runs in. It is a prometheus.Collector
// and a health.Reporter, and its methods may be called from several goroutines
// at once.
type Watcher struct {
	opts  Options
	start time.Time

	mu      sync.Mutex // guards the profile
	profile bytes.Buffer
	taken   time.Time
	counted Goroutines
	stacks  []stack

	history history
}

// New returns a Watcher of this process. The process counts as started now.
func New(opts Options) *Watcher {
	opts.Interval = cmp.Or(opts.Interval, 10*time.Second)
	opts.Window = cmp.Or(opts.Window, 30*time.Minute)
	opts.WarmUp = cmp.Or(opts.WarmUp, 5*time.Minute)
	if opts.Load == nil {
		opts.Load = func() int { return 0 }
	}
	if opts.Held == nil {
		opts.Held = func() int64 { return 0 }
	}
	w := &Watcher{opts: opts, start: time.Now()}
	w.history.limit = max(int(opts.Window/opts.Interval), minSamples)
	return w
}

// Run samples the census until ctx is done.
func (w *Watcher) Run(ctx context.Context) error {
	ticker := time.NewTicker(w.opts.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-ticker.C:
			if time.Since(w.start) >= w.opts.WarmUp {
				w.sample(now)
			}
		}
	}
}

// sample takes a census into the history.
func (w *Watcher) sample(now time.Time) {
	census := w.Census()
	w.history.add(now, w.opts.Load(), census.values(w.opts.Held()))
}

// Goroutines counts goroutines. Of the runtime's own, those that it hides from
// profiles are not among them.
type Goroutines struct {
	// Total is the number of all goroutines.
	Total int `json:"total"`
	// ByComponent splits Total by the component that the goroutines work for.
	// Those without a label are under Other. Do not modify.
	ByComponent map[string]int `json:"by_component"`
}

// Goroutines counts the goroutines from the runtime's profile, at most a second
// ago.
func (w *Watcher) Goroutines() Goroutines {
	counted, _ := w.goroutines()
	return counted
}

// goroutines returns the count with the stacks that were counted.
func (w *Watcher) goroutines() (Goroutines, []stack) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := time.Now(); w.taken.IsZero() || now.Sub(w.taken) >= maxAge {
		w.profile.Reset()
		// Writing to memory does not fail.
		_ = pprof.Lookup("goroutine").WriteTo(&w.profile, 1)
		w.stacks = parseStacks(w.profile.Bytes())
		w.counted = countGoroutines(w.stacks)
		w.taken = now
	}
	return w.counted, w.stacks
}

// Usage is what the process uses of the machine. A number that cannot be read is
// zero.
type Usage struct {
	Goroutines, OpenFDs int
	ResidentBytes       int64
	CPU                 time.Duration
}

// Usage measures the process.
func (w *Watcher) Usage() Usage {
	census := w.Census()
	u := Usage{Goroutines: census.Goroutines.Total, ResidentBytes: census.ResidentBytes}
	if census.FDs != nil {
		u.OpenFDs = census.FDs.Total
	}
	// Where it cannot be read, the rest is still worth showing.
	u.CPU, _ = cpuTime()
	return u
}

// goVersion returns the version of Go that the program was built with.
func goVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.GoVersion
}
