// Package selfwatch measures the agent's own use of the machine: goroutines, in
// total and by component, open file descriptors, memory and processor time.
//
// Every number is taken from the runtime or the operating system when somebody
// asks; none is counted along the way, so that a forgotten decrement cannot
// hide a leak. What a goroutine works for comes from the labels that package
// lifetime gives it.
//
// It judges nothing: what growth is too much is for those who read the numbers.
package selfwatch

import (
	"bytes"
	"runtime/debug"
	"runtime/metrics"
	"runtime/pprof"
	"sync"
	"time"
)

// maxAge is how long a goroutine profile answers for. Taking one stops the
// program for a moment, so that whoever asks often shares it.
const maxAge = time.Second

// Build says which program is measured.
type Build struct {
	Version, Commit string
}

// Watcher measures the process that it runs in. It is a prometheus.Collector,
// and its methods may be called from several goroutines at once.
type Watcher struct {
	build Build
	start time.Time

	mu         sync.Mutex
	profile    bytes.Buffer
	taken      time.Time
	goroutines Goroutines
}

// New returns a Watcher of this process. The process counts as started now.
func New(build Build) *Watcher {
	return &Watcher{build: build, start: time.Now()}
}

// Goroutines counts goroutines. Of the runtime's own, those that it hides from
// profiles are not among them.
type Goroutines struct {
	// Total is the number of all goroutines.
	Total int
	// ByComponent splits Total by the component that the goroutines work for.
	// Those without a label are under Other. Do not modify.
	ByComponent map[string]int
}

// Goroutines counts the goroutines from the runtime's profile, at most a second
// ago.
func (w *Watcher) Goroutines() Goroutines {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := time.Now(); w.taken.IsZero() || now.Sub(w.taken) >= maxAge {
		w.profile.Reset()
		// Writing to memory does not fail.
		_ = pprof.Lookup("goroutine").WriteTo(&w.profile, 1)
		w.goroutines = countGoroutines(w.profile.Bytes())
		w.taken = now
	}
	return w.goroutines
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
	u := Usage{Goroutines: w.Goroutines().Total}
	// Where one cannot be read, the rest is still worth showing.
	u.OpenFDs, _ = openFDs()
	u.ResidentBytes, _ = residentBytes()
	u.CPU, _ = cpuTime()
	return u
}

// heapBytes returns the memory of live and not yet swept objects.
func heapBytes() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// goVersion returns the version of Go that the program was built with.
func goVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.GoVersion
}
