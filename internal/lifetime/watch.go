package lifetime

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Watch keeps the account of overdue goroutines: those that were told to end,
// did not, and were given up by those who waited for them. It travels in the
// context, so that every group below it reports to it. Its methods may be called
// from several goroutines at once, and on a nil Watch, which keeps nothing.
type Watch struct {
	logger *slog.Logger

	mu     sync.Mutex
	counts map[string]uint64
	tasks  map[*Task]Overdue
}

// Overdue is a goroutine that was given up.
type Overdue struct {
	// Component is what it works for.
	Component string `json:"component"`
	// Told is what it did not do: end when its lease ended, for example.
	Told string `json:"told"`
	// At is when it was given up.
	At time.Time `json:"at"`
	// Stack is its stack at that moment, in the runtime's form.
	Stack string `json:"stack"`
}

// NewWatch returns a Watch that logs what it is told.
func NewWatch(logger *slog.Logger) *Watch {
	return &Watch{logger: logger, counts: map[string]uint64{}, tasks: map[*Task]Overdue{}}
}

type watchKey struct{}

// WithWatch returns a context whose groups report to w.
func WithWatch(ctx context.Context, w *Watch) context.Context {
	return context.WithValue(ctx, watchKey{}, w)
}

func watchOf(ctx context.Context) *Watch {
	w, _ := ctx.Value(watchKey{}).(*Watch)
	return w
}

// Counts returns how many goroutines became overdue, by component.
func (w *Watch) Counts() map[string]uint64 {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.counts)
}

// Current returns the goroutines that were given up and have not ended since,
// those of longest ago first.
func (w *Watch) Current() []Overdue {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.SortedFunc(maps.Values(w.tasks), func(a, b Overdue) int { return a.At.Compare(b.At) })
}

// Overdue gives up on the task: it was told to end, by what told says, and has
// not for as long. It is reported with its stack, and counted, once.
func (t *Task) Overdue(told string, after time.Duration) {
	if t.watch == nil || t.overdue.Swap(true) {
		return
	}
	t.watch.add(t, Overdue{Component: t.component, Told: told, At: time.Now(), Stack: stackOf(t.goroutine.Load())}, after)
}

// Given reports that goroutines which somebody else started are overdue, such
// as those of connections: told says what they did not do, and marker is a
// function that is in their stacks.
func Given(ctx context.Context, component, told, marker string, after time.Duration) {
	w := watchOf(ctx)
	if w == nil {
		return
	}
	w.add(&Task{}, Overdue{Component: component, Told: told, At: time.Now(), Stack: stacksWith(marker)}, after)
}

func (w *Watch) add(t *Task, o Overdue, after time.Duration) {
	w.mu.Lock()
	w.counts[o.Component]++
	w.tasks[t] = o
	w.mu.Unlock()
	w.logger.Error("goroutine_overdue", "of", o.Component, "told", o.Told, "after", after, "stack", o.Stack)
}

// ended takes in that a task has ended after all.
func (w *Watch) ended(t *Task) {
	if w == nil {
		return
	}
	w.mu.Lock()
	o, known := w.tasks[t]
	delete(w.tasks, t)
	w.mu.Unlock()
	if known {
		w.logger.Warn("goroutine_overdue_ended", "of", o.Component, "after", time.Since(o.At))
	}
}

// goroutineID returns the number of the calling goroutine, by which the runtime
// names it in a dump of all stacks: "goroutine 18 [running]:".
func goroutineID() uint64 {
	var head [64]byte
	return parseGoroutineID(head[:runtime.Stack(head[:], false)])
}

func parseGoroutineID(stack []byte) uint64 {
	rest, found := bytes.CutPrefix(stack, []byte("goroutine "))
	digits, _, cut := bytes.Cut(rest, []byte(" "))
	if !found || !cut {
		return 0
	}
	id, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil {
		return 0
	}
	return id
}

// maxStacks bounds the dump of all stacks, in bytes.
const maxStacks = 8 << 20

// stacks yields the stack of every goroutine.
func stacks(yield func(stack []byte) bool) {
	buffer := make([]byte, 256<<10)
	n := runtime.Stack(buffer, true)
	for n == len(buffer) && n < maxStacks {
		buffer = make([]byte, 2*n)
		n = runtime.Stack(buffer, true)
	}
	for stack := range bytes.SplitSeq(buffer[:n], []byte("\n\n")) {
		if !yield(stack) {
			return
		}
	}
}

// stackOf returns the stack of one goroutine, "" when it has ended.
func stackOf(goroutine uint64) string {
	for stack := range stacks {
		if parseGoroutineID(stack) == goroutine {
			return string(stack)
		}
	}
	return ""
}

// stacksWith returns the stacks in which a function is.
func stacksWith(function string) string {
	var found [][]byte
	for stack := range stacks {
		if bytes.Contains(stack, []byte(function)) {
			found = append(found, bytes.Clone(stack))
		}
	}
	return string(bytes.Join(found, []byte("\n\n")))
}
