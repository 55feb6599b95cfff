package selfwatch

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"log_capturer/internal/health"
	"log_capturer/internal/lifetime"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// sampled returns a watcher with n samples, 10 seconds apart, of what value and
// load say.
func sampled(n int, load func(i int) int, value func(i int) map[key]float64) *Watcher {
	w := New(Options{})
	for i := range n {
		w.history.add(t0.Add(time.Duration(i)*10*time.Second), load(i), value(i))
	}
	return w
}

func constant(int) int { return 50 }

// of is the number of goroutines of one component, besides others that stay.
func of(component string, value func(i int) float64) func(i int) map[key]float64 {
	return func(i int) map[key]float64 {
		v := value(i)
		return map[key]float64{
			{resourceGoroutines, component}: v, {resourceGoroutines, "server"}: 7, {resourceGoroutines, all}: v + 7,
			{resourceFDs, "socket"}: 60, {resourceFDs, all}: 70, {resourceHeap, all}: 10 << 20,
		}
	}
}

func TestVerdict(t *testing.T) {
	noise := rand.New(rand.NewPCG(1, 2))
	jitter := func(n int) float64 { return float64(noise.IntN(n)) }
	f := func(name string, w *Watcher, want Verdict, says ...string) {
		t.Helper()
		j := w.Judge()
		if j.Verdict != want {
			t.Errorf("%s: %s (%s), want %s", name, j.Verdict, j.Reason, want)
		}
		for _, text := range says {
			if !strings.Contains(j.Reason, text) {
				t.Errorf("%s: reason %q, want %q in it", name, j.Reason, text)
			}
		}
	}
	const halfAnHour = 180
	f("nothing yet", sampled(0, constant, nil), Measuring)
	f("too few samples", sampled(minSamples-1, constant, of("stream", func(i int) float64 { return float64(100 * i) })), Measuring)
	f("constant", sampled(halfAnHour, constant, of("stream", func(int) float64 { return 150 })), Steady, "nothing grows, over 29m50s")
	f("noise", sampled(halfAnHour, constant, of("stream", func(int) float64 { return 150 + jitter(40) })), Steady)
	f("one step", sampled(halfAnHour, constant, of("stream", func(i int) float64 { return 150 + 40*float64(i/170) })), Steady)
	f("falling", sampled(halfAnHour, constant, of("stream", func(i int) float64 { return 500 - float64(i) })), Steady)

	// The leak that the project began with: 30.5 goroutines a minute.
	f("the old leak", sampled(halfAnHour, constant, of("stream", func(i int) float64 { return 1081 + 30.5/6*float64(i) + jitter(10) })),
		Growing, "goroutines of stream +30.", "goroutines +30.")
	f("a slow leak in noise", sampled(halfAnHour, constant, of("heartbeat", func(i int) float64 { return 20 + float64(i)/12 + jitter(3) })),
		Growing, "goroutines of heartbeat +0.")
	f("a leak after 3 minutes", sampled(18, constant, of("discovery", func(i int) float64 { return 20 + 5*float64(i) })),
		Growing, "goroutines of discovery +30.0 a minute")

	// Goroutines that follow the containers are no leak, whichever way these go.
	follows := func(load func(i int) int) func(i int) float64 {
		return func(i int) float64 { return 3 * float64(load(i)) }
	}
	wave := func(i int) int { return 10 + i/45*10 }
	f("it follows the load", sampled(halfAnHour, wave, of("stream", follows(wave))), Steady)
	climb := func(i int) int { return i }
	f("the load never is the same", sampled(halfAnHour, climb, of("stream", follows(climb))), Measuring, "same number of containers")
	f("a leak under a changing load", sampled(halfAnHour, wave, of("stream", func(i int) float64 { return follows(wave)(i) + float64(i) })),
		Growing, "goroutines of stream")

	resource := func(k key, value func(i int) float64) func(i int) map[key]float64 {
		return func(i int) map[key]float64 { return map[key]float64{k: value(i)} }
	}
	f("sockets", sampled(halfAnHour, constant, resource(key{resourceFDs, "socket"}, func(i int) float64 { return float64(i) })),
		Growing, "fds of socket +6.0 a minute")
	f("a heap that is collected", sampled(halfAnHour, constant, resource(key{resourceHeap, all}, func(i int) float64 { return float64(i%7) * (20 << 20) })), Steady)
	f("a heap that grows", sampled(halfAnHour, constant, resource(key{resourceHeap, all}, func(i int) float64 { return float64(i) * (1 << 20) })),
		Growing, "heap +6.0 MiB a minute")
	f("resident memory is not judged", sampled(halfAnHour, constant, resource(key{resourceResident, all}, func(i int) float64 { return float64(i) * (1 << 20) })), Steady)
}

// A leak that has stopped is forgotten with the window.
func TestTheWindowSlides(t *testing.T) {
	w := New(Options{Window: 10 * time.Minute})
	at := t0
	add := func(v float64) {
		at = at.Add(10 * time.Second)
		w.history.add(at, 1, map[key]float64{{resourceGoroutines, "stream"}: v})
	}
	for i := range 60 {
		add(float64(10 * i))
	}
	if j := w.Judge(); j.Verdict != Growing {
		t.Fatalf("%+v", j)
	}
	for range 60 {
		add(600)
	}
	j := w.Judge()
	if j.Verdict != Steady || j.Samples != 60 || j.To.Sub(j.From) != 590*time.Second {
		t.Errorf("%s, %d samples over %v: %s", j.Verdict, j.Samples, j.To.Sub(j.From), j.Reason)
	}
}

func TestTheNumbersAreBounded(t *testing.T) {
	w := New(Options{Window: time.Minute})
	for i := range 1000 {
		w.history.add(t0.Add(time.Duration(i)*time.Second), 1, map[key]float64{{resourceGoroutines, strings.Repeat("x", i)}: 1})
	}
	if n := len(w.history.keys); n != maxKeys {
		t.Errorf("%d keys, want %d", n, maxKeys)
	}
	if n := len(w.history.samples); n != minSamples {
		t.Errorf("%d samples, want %d", n, minSamples)
	}
	w.Judge()
}

// The whole of it: goroutines are planted under a name while the watcher runs,
// and it says which.
func TestPlantedGrowthIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New(Options{})
		ctx, cancel := context.WithCancel(t.Context())
		g := lifetime.NewGroup(ctx)
		g.Go("selfwatch", w.Run)
		health := func() (health.Status, string) {
			c := w.Health()[0]
			return c.Status, c.Reason
		}
		<-time.After(5 * time.Minute)
		if status, reason := health(); status != 0 || !strings.HasPrefix(reason, "measuring: ") {
			t.Errorf("after the warm-up: %v, %q", status, reason)
		}
		<-time.After(5 * time.Minute)
		if status, reason := health(); status != 0 || !strings.HasPrefix(reason, "steady: ") {
			t.Errorf("after 5 minutes of nothing: %v, %q", status, reason)
		}
		for range 300 {
			<-time.After(6 * time.Second)
			g.Go("planted", func(ctx context.Context) error {
				plantedWait(ctx)
				return nil
			})
		}
		<-time.After(2 * maxAge)
		synctest.Wait()
		status, reason := health()
		if status == 0 || !strings.Contains(reason, "growing: ") || !strings.Contains(reason, "goroutines of planted +10.0 a minute") {
			t.Errorf("with 10 goroutines more a minute: %v, %q", status, reason)
		}
		leaks := w.Leaks()
		if len(leaks.Stacks) != 1 || leaks.Stacks[0].Component != "planted" || leaks.Stacks[0].Goroutines != 300 ||
			!strings.Contains(strings.Join(leaks.Stacks[0].Frames, "\n"), "selfwatch.plantedWait") {
			t.Errorf("stacks %+v", leaks.Stacks)
		}
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
}

func plantedWait(ctx context.Context) { <-ctx.Done() }

func TestOverdueGoroutinesAreDegrading(t *testing.T) {
	watch := lifetime.NewWatch(slog.New(slog.DiscardHandler))
	w := New(Options{Overdue: watch})
	if c := w.Health()[0]; c.Status != health.Healthy {
		t.Errorf("%+v", c)
	}
	g := lifetime.NewGroup(lifetime.WithWatch(t.Context(), watch))
	g.Go("stream", func(ctx context.Context) error { <-ctx.Done(); return nil }).Overdue("close a log stream", time.Second)
	if c := w.Health()[0]; c.Status != health.Degraded || !strings.Contains(c.Reason, "1 goroutines did not end") {
		t.Errorf("%+v", c)
	}
	if l := w.Leaks(); len(l.Overdue) != 1 || l.Overdue[0].Component != "stream" {
		t.Errorf("overdue %+v", l.Overdue)
	}
	g.Cancel()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if c := w.Health()[0]; c.Status != health.Healthy {
		t.Errorf("after its end: %+v", c)
	}
}

func TestFDsAreCountedByKind(t *testing.T) {
	before := New(Options{}).Census().FDs
	name := filepath.Join(t.TempDir(), "file")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0") // and with the first of them an eventpoll
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	inotify, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(inotify)
	leaks := New(Options{}).Leaks()
	after := leaks.Census.FDs.ByKind
	for kind, n := range map[string]int{"file": 1, "pipe": 2, "socket": 1, "inotify": 1} {
		if after[kind] != before.ByKind[kind]+n {
			t.Errorf("of kind %s: before %v, after %v, want %d more", kind, before.ByKind, after, n)
		}
	}
	of := func(target string) int {
		at := slices.IndexFunc(leaks.Targets, func(t Target) bool { return t.Target == target })
		if at < 0 {
			return 0
		}
		return leaks.Targets[at].FDs
	}
	if of(name) != 1 || of("pipe") < 2 || of("anon_inode:inotify") != after["inotify"] {
		t.Errorf("targets %v", leaks.Targets)
	}
}

// The kind is told by what kind of file it is, or by what the descriptor points at;
// both have to say the same.
func TestKindsOfFDs(t *testing.T) {
	for target, want := range map[string]string{
		"socket:[1]": "socket", "/a": "file", "anon_inode:inotify": "inotify",
		"anon_inode:[eventpoll]": "other", "pipe:[3]": "pipe", "": "",
	} {
		if got := fdKind(target); got != want {
			t.Errorf("what points at %q is of kind %q, want %q", target, got, want)
		}
	}
	numbers, err := openFDs()
	if err != nil {
		t.Fatal(err)
	}
	for _, number := range numbers {
		if target := fdTarget(number); fdKindOf(number) != fdKind(target) {
			t.Errorf("%d, which points at %q, is of kind %q", number, target, fdKindOf(number))
		}
	}
	if kind := fdKindOf(1 << 20); kind != "" {
		t.Errorf("one that is not open is of kind %q", kind)
	}
}

// What the queues hold is no growth of the heap.
func TestWhatIsHeldIsNoGrowth(t *testing.T) {
	c := Census{HeapLiveBytes: 100 << 20}
	if got := c.values(60 << 20)[key{resourceHeap, all}]; got != 40<<20 {
		t.Errorf("heap %v", got)
	}
	if got := c.values(200 << 20)[key{resourceHeap, all}]; got != 0 {
		t.Errorf("heap %v", got)
	}
}

// The cost of a sample and of a verdict with a full window: both happen every 10
// seconds at most.
func BenchmarkSample(b *testing.B) {
	w := New(Options{})
	b.ReportAllocs()
	for b.Loop() {
		w.taken = time.Time{}
		w.sample(time.Now())
	}
}

func BenchmarkJudge(b *testing.B) {
	w := sampled(180, constant, of("stream", func(i int) float64 { return float64(i) }))
	b.ReportAllocs()
	for b.Loop() {
		w.history.trends = nil
		w.Judge()
	}
}
