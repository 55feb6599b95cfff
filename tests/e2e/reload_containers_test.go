package e2e

import (
	"slices"
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

// An agent that watches its file has the monitor of its containers begin anew, over
// and over, from files and over the API in turn, while they write: each line
// arrives once and in order, as does what a container wrote that was left out for
// a while.
func TestReloadOfContainers(t *testing.T) {
	engine := enginetest.New(t)
	id := label(t)
	rounds := long(6, 60) // at whose end nothing is left out
	inLoki, inFiles := ledger.New(), ledger.New()
	loki := startLoki(t, inLoki, lokitest.Options{})
	sinks := "sinks:\n" + fileSink + lokiSink(loki)
	configuration := func(n int) string {
		lines := []string{"transport: " + []string{"auto", "api", "file"}[n%3], "heartbeat_interval: " + strconv.Itoa(20+n) + "s"}
		if n%4 == 1 {
			lines = append(lines, "exclude: {labels: [\"left=out\"]}")
		}
		return monitorConfig(id, lines...) + sinks
	}
	a := agent.Start(t, agent.Options{Config: configuration(0), Flags: []string{"--watch"}})
	var running []*enginetest.Container
	for i := range 4 {
		labels := map[string]string{labelKey: id}
		if i == 3 {
			labels["left"] = "out"
		}
		running = append(running, engine.Run(t, enginetest.Options{
			Labels: labels, Count: true, Args: []string{"-run-id", "r", "-rate", "200", "-streams", "both", "-hold", "-size", "20,100,300"},
		}))
	}
	var last time.Time
	for n := 1; n <= rounds; n++ {
		var r *agent.Reload
		before := last
		a.Configure(configuration(n))
		enginetest.Eventually(t, time.Minute, "the changed file is applied", func() bool {
			s, err := a.Status()
			if err == nil && s.LastReload != nil && s.LastReload.At.After(before) {
				r, last = s.LastReload, s.LastReload.At
			}
			return r != nil
		})
		if r.Cause != "file" || r.Result != "applied" || !slices.Equal(r.Changed, []string{"container_monitor"}) {
			t.Errorf("round %d: %+v", n, r)
		}
	}
	for _, c := range running {
		enginetest.Must(t, c.Stop(10*time.Second))
		counts, err := c.Written()
		enginetest.Must(t, err)
		for _, l := range []*ledger.Ledger{inLoki, inFiles} {
			l.ExpectCounts(c.ID, "r", counts)
			l.ExpectEnd(c.ID, numbered.RunOf("r", 1), record.Stdout)
			l.ExpectEnd(c.ID, numbered.RunOf("r", 1), record.Stderr)
		}
	}
	waitDrained(t, a)
	checkAccounts(t, a)
	countFiles(t, a, inFiles)
	check(t, "files", inFiles)
	check(t, "loki", inLoki)
	if gaps := a.Metric(t, "log_capturer_suspected_gaps_total"); gaps != 0 {
		t.Errorf("%v suspected gaps", gaps)
	}
}
