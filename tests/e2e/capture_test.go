package e2e

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"log_capturer/internal/record"
	"log_capturer/internal/sinks/loki/lokitest"
	"log_capturer/internal/testkit/agent"
	"log_capturer/internal/testkit/enginetest"
	"log_capturer/internal/testkit/ledger"
	"log_capturer/internal/testkit/numbered"
)

// Twenty containers write to both streams as fast as they can, half of them
// before the agent starts.
func TestFastContainers(t *testing.T) {
	engine := enginetest.New(t)
	id := label(t)
	lines := fewer(5000)
	files, pushes := ledger.New(), ledger.New()
	loki := startLoki(t, pushes, lokitest.Options{})
	var containers []*enginetest.Container
	run := func(n int) {
		for i := range n {
			run := fmt.Sprintf("run%d", len(containers)+i)
			c := engine.Run(t, enginetest.Options{
				Labels: map[string]string{labelKey: id},
				Args:   []string{"-run-id", run, "-lines", strconv.Itoa(lines), "-streams", "both", "-size", "20,100,300", "-payload", "mixed"},
			})
			for _, s := range []record.Stream{record.Stdout, record.Stderr} {
				files.Expect(c.ID, run, s, uint64(lines))
				pushes.Expect(c.ID, run, s, uint64(lines))
			}
			containers = append(containers, c)
		}
	}
	run(10)
	a := agent.Start(t, agent.Options{Config: monitorConfig(id) + "sinks:\n" + fileSink + lokiSink(loki)})
	run(10)
	waitEnded(t, containers)
	enginetest.Eventually(t, time.Minute, "both sinks have every line", func() bool {
		want := uint64(len(containers) * lines * 2)
		return acknowledged(t, a, "local_file") >= want && acknowledged(t, a, "loki") >= want
	})
	waitDrained(t, a)
	checkAccounts(t, a)
	checkHealthy(t, a)
	countFiles(t, a, files)
	check(t, "files", files)
	check(t, "loki", pushes)
}

// More containers than leases, rotated thousands of times.
func TestRotation(t *testing.T) {
	engine := enginetest.New(t)
	id := label(t)
	const containers, leases = 55, 50
	rotations := float64(fewer(5000))
	arrived := ledger.New()
	var running []*enginetest.Container
	for range containers {
		running = append(running, engine.Run(t, enginetest.Options{
			Labels: map[string]string{labelKey: id}, Count: true,
			Args: []string{"-run-id", "r", "-rate", "5", "-streams", "both"},
		}))
	}
	a := agent.Start(t, agent.Options{Config: monitorConfig(id,
		fmt.Sprintf("max_streams: %d", leases), "rotation_interval: 400ms", "heartbeat_interval: 5s")})
	metric := func(name string) float64 { return a.Metric(t, name) }
	enginetest.Eventually(t, time.Minute, "the pool is full and every container was read", func() bool {
		return metric("log_capturer_active_streams") == leases && metric("log_capturer_stream_rotations_total") > 200
	})
	goroutines, fds := a.Goroutines(t), a.FDs(t)
	t.Logf("at the start: %d goroutines, %d file descriptors", goroutines, fds)
	if n := metric("log_capturer_stream_pool_capacity"); n != leases {
		t.Errorf("pool capacity is %v", n)
	}
	began := time.Now()
	var longest, fewest float64 = 0, leases
	enginetest.Eventually(t, 5*time.Minute, "the rotations are done", func() bool {
		longest = max(longest, metric("log_capturer_stream_longest_wait_seconds"))
		fewest = min(fewest, metric("log_capturer_active_streams"))
		return metric("log_capturer_stream_rotations_total") >= rotations
	})
	bound := metric("log_capturer_stream_wait_bound_seconds")
	t.Logf("%v rotations in %v, longest wait %.3f s of %.3f s, fewest streams %v",
		rotations, time.Since(began).Round(time.Second), longest, bound, fewest)
	if longest > bound {
		t.Errorf("a container waited for %.3f s, longer than the bound of %.3f s", longest, bound)
	}
	checkHealthy(t, a)
	// The same moment of the rotation is never met twice: take the least of
	// several looks on both sides.
	enginetest.Eventually(t, 20*time.Second, "goroutines and file descriptors are what they were", func() bool {
		goroutines2, fds2 := a.Goroutines(t), a.FDs(t)
		t.Logf("at the end: %d goroutines, %d file descriptors", goroutines2, fds2)
		return goroutines2 <= goroutines+5 && fds2 <= fds+5
	})
	for _, c := range running {
		enginetest.Must(t, c.Stop(10*time.Second))
		counts, err := c.Written()
		enginetest.Must(t, err)
		arrived.ExpectCounts(c.ID, "r", counts)
		for _, s := range []record.Stream{record.Stdout, record.Stderr} {
			arrived.ExpectEnd(c.ID, numbered.RunOf("r", 1), s)
		}
	}
	waitDrained(t, a)
	checkAccounts(t, a)
	if gaps := metric("log_capturer_suspected_gaps_total"); gaps != 0 {
		t.Errorf("%v suspected gaps", gaps)
	}
	countFiles(t, a, arrived)
	check(t, "files", arrived)
}
