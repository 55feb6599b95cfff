package selfwatch

import (
	"runtime/metrics"
	"strings"
	"time"
)

// Census is what the agent occupies at one moment.
type Census struct {
	TakenAt    time.Time  `json:"taken_at"`
	Goroutines Goroutines `json:"goroutines"`
	// FDs are the open file descriptors, absent where they can't be read.
	FDs *FDs `json:"fds,omitempty"`
	// HeapLiveBytes is what the last garbage collection found in use, HeapBytes
	// all objects on the heap, and ResidentBytes the memory of the process.
	HeapLiveBytes uint64 `json:"heap_live_bytes"`
	HeapBytes     uint64 `json:"heap_bytes"`
	ResidentBytes int64  `json:"resident_bytes,omitempty"`
}

// FDs counts open file descriptors.
type FDs struct {
	Total int `json:"total"`
	// ByKind splits Total: socket, file, inotify, pipe and other. Do not
	// modify.
	ByKind map[string]int `json:"by_kind"`
}

// fdKinds are the kinds of file descriptors.
var fdKinds = []string{"socket", "file", "inotify", "pipe", "other"}

// fdKind names the kind of a descriptor by what /proc says it points at
// (proc(5)), "" for nothing.
func fdKind(target string) string {
	switch {
	case target == "":
		return ""
	case strings.HasPrefix(target, "socket:"):
		return "socket"
	case strings.HasPrefix(target, "pipe:"):
		return "pipe"
	case target == "anon_inode:inotify":
		return "inotify"
	case strings.HasPrefix(target, "/"):
		return "file"
	default: // eventpoll, eventfd and such
		return "other"
	}
}

// countFDs counts the open descriptors by their kinds. It returns nil where they
// can't be read.
func countFDs() *FDs {
	numbers, err := openFDs()
	if err != nil {
		return nil
	}
	counted := &FDs{ByKind: map[string]int{}}
	for _, kind := range fdKinds {
		counted.ByKind[kind] = 0
	}
	for _, number := range numbers {
		if kind := fdKindOf(number); kind != "" {
			counted.Total++
			counted.ByKind[kind]++
		}
	}
	return counted
}

// Census takes a census. The goroutines are those of at most a second ago.
func (w *Watcher) Census() Census {
	c := Census{TakenAt: time.Now(), Goroutines: w.Goroutines(), FDs: countFDs()}
	if n, err := residentBytes(); err == nil {
		c.ResidentBytes = n
	}
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	c.HeapBytes, c.HeapLiveBytes = sample[0].Value.Uint64(), sample[1].Value.Uint64()
	return c
}

// values returns the numbers whose growth is judged. held is what the agent
// holds on purpose, in bytes.
func (c *Census) values(held int64) map[key]float64 {
	v := map[key]float64{
		{resourceGoroutines, all}: float64(c.Goroutines.Total),
		{resourceHeap, all}:       max(0, float64(c.HeapLiveBytes)-float64(held)),
	}
	if c.ResidentBytes > 0 {
		v[key{resourceResident, all}] = float64(c.ResidentBytes)
	}
	for component, n := range c.Goroutines.ByComponent {
		v[key{resourceGoroutines, component}] = float64(n)
	}
	if c.FDs != nil {
		v[key{resourceFDs, all}] = float64(c.FDs.Total)
		for kind, n := range c.FDs.ByKind {
			v[key{resourceFDs, kind}] = float64(n)
		}
	}
	return v
}
