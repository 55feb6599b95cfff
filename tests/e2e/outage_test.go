package e2e

import (
	"os"
	"strconv"
	"testing"
	"time"

	"log_capturer/internal/testkit/agent"
	"log_capturer/internal/testkit/enginetest"
	"log_capturer/internal/testkit/ledger"
)

// longOutage is an outage of a destination while containers write on.
type longOutage struct {
	lasts      time.Duration
	containers int
	rate       int // lines a second of each stream of each container
}

// lines is how many lines are written while it lasts.
func (o longOutage) lines() uint64 {
	return uint64(2*o.containers*o.rate) * uint64(o.lasts/time.Second)
}

// A destination is away for long while containers write thousands of lines a
// second, and is caught up with at full speed while they go on. Every line is
// there once; the memory and the spool stay within their bounds, and the
// accounts are exact, all the time. LOG_CAPTURER_LONG=1 makes it ten minutes at
// 20,000 lines a second.
func TestCatchesUpAfterOutage(t *testing.T) {
	const limit, spoolBytes = 128 << 20, 8 << 30
	away := longOutage{lasts: 12 * time.Second, containers: 4, rate: fewer(500)}
	if os.Getenv("LOG_CAPTURER_LONG") == "1" {
		away = longOutage{lasts: 10 * time.Minute, containers: 10, rate: 1000}
	}
	engine := enginetest.New(t)
	id := label(t)
	arrived := ledger.New()
	loki := startOutage(t, arrived)
	loki.down.Store(true)
	a := agent.Start(t, agent.Options{Config: "memory_limit: 128MiB\n" + monitorConfig(id, "transport: auto") +
		"sinks:\n" + lokiSink(loki.Server, "spool: {max_bytes: "+strconv.Itoa(spoolBytes)+"}")})
	confine(t, a.PID(), limit)
	var running []*enginetest.Container
	for range away.containers {
		running = append(running, engine.Run(t, enginetest.Options{
			Labels: map[string]string{labelKey: id}, Count: true,
			Args: []string{"-run-id", "r", "-rate", strconv.Itoa(away.rate), "-streams", "both", "-size", "80,120,250"},
		}))
	}

	// What is looked at all the time.
	var spooledBytes float64
	watched := func() (accepted, delivered, spooled uint64) {
		samples, err := a.Scrape()
		enginetest.Must(t, err)
		checkSamples(t, samples)
		sum := func(name string) float64 { v, _ := samples.Sum(name); return v }
		spooledBytes = max(spooledBytes, sum("log_capturer_spool_bytes"))
		return uint64(sum("log_capturer_records_accepted_total")), uint64(sum("log_capturer_records_acknowledged_total")),
			uint64(sum("log_capturer_spool_records"))
	}
	begin := time.Now()
	enginetest.Eventually(t, 3*away.lasts+time.Minute, "the outage has lasted", func() bool {
		pauseFor(t, 200*time.Millisecond)
		watched()
		return time.Since(begin) >= away.lasts && written(t, running) >= away.lines()
	})
	enginetest.Eventually(t, 2*time.Minute, "the containers' logs are read as they are written", func() bool {
		lines := written(t, running)
		accepted, _, _ := watched()
		return accepted+uint64(2*away.containers*away.rate) >= lines
	})
	before, delivered, spooled := watched()
	if delivered > 0 || spooled < away.lines()/2 {
		t.Errorf("%d lines were delivered in the outage, and %d are in the spool, of %d", delivered, spooled, away.lines())
	}
	duringMemory, duringLines, took := peakMemory(t, a.PID()), written(t, running), time.Since(begin)

	loki.down.Store(false)
	begin = time.Now()
	var after uint64
	enginetest.Eventually(t, 3*away.lasts+2*time.Minute, "the spool is empty while the containers write on", func() bool {
		pauseFor(t, 100*time.Millisecond)
		_, after, spooled = watched()
		return spooled == 0
	})
	caughtUp := time.Since(begin)
	meanwhile := written(t, running) - duringLines
	if meanwhile == 0 || after < before {
		t.Errorf("%d lines were written while catching up, which delivered %d of the %d of the outage", meanwhile, after, before)
	}
	stopAll(t, running, arrived)
	waitDrained(t, a)
	checkAccounts(t, a)
	checkHealthy(t, a)
	most := peakMemory(t, a.PID())
	perSecond := func(n uint64, d time.Duration) float64 { return float64(n) / d.Seconds() }
	t.Logf("%d lines in an outage of %v (%.0f/s), caught up in %v: %.0f/s, while %.0f/s were written",
		duringLines, took.Round(time.Second), perSecond(duringLines, took),
		caughtUp.Round(time.Second), perSecond(after, caughtUp), perSecond(meanwhile, caughtUp))
	t.Logf("at most %d MiB of memory in the outage, %d MiB in all; at most %.0f MiB of spool",
		duringMemory>>20, most>>20, spooledBytes/(1<<20))
	if most > limit {
		t.Errorf("took %d MiB, the limit is %d", most>>20, limit>>20)
	}
	if spooledBytes > spoolBytes {
		t.Errorf("the spool took %.0f bytes, the limit is %d", spooledBytes, spoolBytes)
	}
	mustExitWell(t, a.Terminate(time.Minute))
	check(t, "loki", arrived)
}

// written returns how many lines containers have written, by their own counts.
func written(t *testing.T, running []*enginetest.Container) (lines uint64) {
	t.Helper()
	for _, c := range running {
		counts, err := c.Written()
		enginetest.Must(t, err)
		for _, start := range counts {
			for _, n := range start.Lines {
				lines += n
			}
		}
	}
	return lines
}
