package selfwatch

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"log_capturer/internal/lifetime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fresh returns a count that no earlier profile answers for.
func fresh() Goroutines { return New(Options{}).Goroutines() }

// eventually polls until the count is as wanted.
func eventually(t *testing.T, what string, wanted func(Goroutines) bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		counted := fresh()
		if wanted(counted) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never so: %s; counted %+v", what, counted)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func TestPlantedGoroutinesAreCountedAndGone(t *testing.T) {
	g := lifetime.NewGroup(t.Context())
	for range 7 {
		g.Go("planted", func(ctx context.Context) error {
			<-ctx.Done()
			return nil
		})
	}
	for range 3 {
		g.Go("planted_parent", func(ctx context.Context) error {
			child := make(chan struct{})
			go func() { // as a library would
				defer close(child)
				<-ctx.Done()
			}()
			<-child
			return nil
		})
	}
	eventually(t, "7 planted, 6 of planted_parent", func(counted Goroutines) bool {
		return counted.ByComponent["planted"] == 7 && counted.ByComponent["planted_parent"] == 6
	})
	g.Cancel()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all planted ones gone", func(counted Goroutines) bool {
		_, planted := counted.ByComponent["planted"]
		_, parent := counted.ByComponent["planted_parent"]
		return !planted && !parent
	})
}

func TestTotalIsTheSumOfTheComponents(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	counted := fresh()
	sum := 0
	for _, n := range counted.ByComponent {
		sum += n
	}
	if sum != counted.Total || counted.Total < 3 {
		t.Errorf("total %d, sum of the components %d", counted.Total, sum)
	}
	if counted.ByComponent[Other] == 0 {
		t.Error("goroutines of net/http without a label are not under other")
	}
}

func TestProfileIsSharedForASecond(t *testing.T) {
	w := New(Options{})
	w.Goroutines()
	g := lifetime.NewGroup(t.Context())
	started := make(chan struct{})
	g.Go("planted", func(ctx context.Context) error {
		close(started)
		<-ctx.Done()
		return nil
	})
	<-started
	if n := w.Goroutines().ByComponent["planted"]; n != 0 {
		t.Errorf("a second count at once: %d planted, want 0 as in the first", n)
	}
	w.mu.Lock()
	w.taken = w.taken.Add(-maxAge)
	w.mu.Unlock()
	if n := w.Goroutines().ByComponent["planted"]; n != 1 {
		t.Errorf("a count one second later: %d planted, want 1", n)
	}
	g.Cancel()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestCountGoroutines(t *testing.T) {
	f := func(profile string, total int, want map[string]int) {
		t.Helper()
		got := countGoroutines(parseStacks([]byte(profile)))
		if got.Total != total || !maps.Equal(got.ByComponent, want) {
			t.Errorf("%q:\n got %d %v\nwant %d %v", profile, got.Total, got.ByComponent, total, want)
		}
	}
	f("", 0, map[string]int{Other: 0})
	f("goroutine profile: total 1\n1 @ 0x1 0x2\n#\t0x1\tmain.main+0x1\t/m.go:1\n\n", 1, map[string]int{Other: 1})
	f("goroutine profile: total 6\n"+
		"3 @ 0x1\n# labels: {\"component\":\"a\"}\n#\t0x1\tx\n\n"+
		"2 @ 0x1\n# labels: {\"component\":\"b\"}\n\n"+
		"1 @ 0x2\n# labels: {\"component\":\"a\"}\n", 6, map[string]int{"a": 4, "b": 2, Other: 0})
	// Stacks without a label before, between and after those with one.
	f("1 @ 0x1\n2 @ 0x1\n# labels: {\"component\":\"a\"}\n4 @ 0x3\n\n8 @ 0x4", 15, map[string]int{"a": 2, Other: 13})
	// Labels of others, and values that need quotes.
	f("5 @ 0x1\n# labels: {\"a\\\"}:\":\"x, y\", \"component\":\"we\\tird\"}\n", 5, map[string]int{"we\tird": 5, Other: 0})
	f("5 @ 0x1\n# labels: {\"user\":\"component\"}\n", 5, map[string]int{Other: 5})
	f("5 @ 0x1\n# labels: {\"component\":\"\"}\n", 5, map[string]int{Other: 5})
	f("5 @ 0x1\n# labels: {\"component\":\n", 5, map[string]int{Other: 5})
}

func TestComponentsAreBounded(t *testing.T) {
	var profile strings.Builder
	const planted = 3 * maxComponents
	for i := range planted {
		fmt.Fprintf(&profile, "1 @ 0x1\n# labels: {\"component\":\"c%04d\"}\n", i)
	}
	counted := countGoroutines(parseStacks([]byte(profile.String())))
	if counted.Total != planted || len(counted.ByComponent) != maxComponents {
		t.Fatalf("%d goroutines of %d components, want %d of %d",
			counted.Total, len(counted.ByComponent), planted, maxComponents)
	}
	if got, want := counted.ByComponent[Other], planted-maxComponents+1; got != want {
		t.Errorf("beyond the bound: %d, want %d", got, want)
	}
}

func countOpen() (int, error) {
	numbers, err := openFDs()
	return len(numbers), err
}

func TestOpenFilesAreCounted(t *testing.T) {
	before, err := countOpen()
	if err != nil {
		t.Fatal(err)
	}
	var files []io.Closer
	for range 5 {
		file, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if during, err := countOpen(); err != nil || during != before+5 {
		t.Errorf("with 5 more files open: %d, %v; want %d", during, err, before+5)
	}
	for _, file := range files {
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if after, err := countOpen(); err != nil || after != before {
		t.Errorf("after closing them: %d, %v; want %d", after, err, before)
	}
}

func TestMemoryIsMeasured(t *testing.T) {
	const planted = 64 << 20
	debug.FreeOSMemory() // or the block could come from what is resident
	before, err := residentBytes()
	if err != nil {
		t.Fatal(err)
	}
	heapBefore := New(Options{}).Census().HeapBytes
	block := make([]byte, planted)
	for i := 0; i < len(block); i += 4096 {
		block[i] = 1
	}
	after, err := residentBytes()
	if err != nil {
		t.Fatal(err)
	}
	if grown := after - before; grown < planted*9/10 {
		t.Errorf("resident memory grew by %d bytes, %d were planted", grown, planted)
	}
	if grown := New(Options{}).Census().HeapBytes - heapBefore; grown < planted*9/10 {
		t.Errorf("the heap grew by %d bytes, %d were planted", grown, planted)
	}
	block[0] = 2
}

func TestProcessorTimeIsMeasured(t *testing.T) {
	before, err := cpuTime()
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		after, err := cpuTime()
		if err != nil {
			t.Fatal(err)
		}
		if after-before > 20*time.Millisecond {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("10s of work used %v", after-before)
		}
	}
}

func TestMetrics(t *testing.T) {
	w := New(Options{Build: Build{Version: "1.2.3", Commit: "abc"}})
	problems, err := testutil.CollectAndLint(w)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
	for _, name := range []string{
		"log_capturer_goroutines", "log_capturer_goroutines_by_component", "log_capturer_open_fds",
		"log_capturer_resident_memory_bytes", "log_capturer_heap_bytes", "log_capturer_cpu_seconds_total",
		"log_capturer_start_time_seconds", "log_capturer_build_info",
	} {
		if testutil.CollectAndCount(w, name) == 0 {
			t.Errorf("no %s", name)
		}
	}
	want := fmt.Sprintf("# HELP log_capturer_build_info Always 1, with the build of the agent as labels.\n"+
		"# TYPE log_capturer_build_info gauge\n"+
		"log_capturer_build_info{commit=\"abc\",go_version=%q,version=\"1.2.3\"} 1\n", goVersion())
	if err := testutil.CollectAndCompare(w, strings.NewReader(want), "log_capturer_build_info"); err != nil {
		t.Error(err)
	}
}

// The cost of one count with 300 goroutines, which is what a scrape pays at
// most once a second.
func BenchmarkGoroutines(b *testing.B) {
	g := lifetime.NewGroup(b.Context())
	for range 150 {
		here, there := net.Pipe()
		g.Go("reader", func(context.Context) error {
			_, err := here.Read(make([]byte, 1))
			return err
		})
		g.Go("closer", func(ctx context.Context) error {
			<-ctx.Done()
			return there.Close()
		})
	}
	b.ReportAllocs()
	for b.Loop() {
		fresh()
	}
	g.Cancel()
	_ = g.Wait()
}
