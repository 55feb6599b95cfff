package e2e

import (
	"strconv"
	"testing"
	"time"

	"log_capturer/internal/sinks/loki/lokitest"
	"log_capturer/internal/testkit/agent"
	"log_capturer/internal/testkit/enginetest"
	"log_capturer/internal/testkit/ledger"
)

// A limit for each container, or for a sink, lets as many records pass as it says:
// the others wait, and all are delivered, or they are dropped, and counted to the
// record. A limit of one sink is none of the other's.
func TestRateLimits(t *testing.T) {
	const containers, lines, rate = 2, 750, 500
	f := func(name, dispatcher, sink, stage string, limited int, files bool) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engine := enginetest.New(t)
			id := label(t)
			arrived, written := ledger.New(), ledger.New()
			loki := startLoki(t, arrived, lokitest.Options{})
			// What is owed for a request is waited for before the next one.
			more := []string{"batch_records: 100"}
			if sink != "" {
				more = append(more, "rate_limit: "+sink)
			}
			config := monitorConfig(id) + "sinks:\n" + fileSink + lokiSink(loki, more...)
			if dispatcher != "" {
				config += "dispatcher: {source_rate_limit: " + dispatcher + "}\n"
			}
			a := agent.Start(t, agent.Options{Config: config})
			a.WaitReady(time.Minute)
			began := time.Now()
			running := writers(t, engine, id, containers, lines, "100")
			expectAll(running, lines, arrived, written)
			waitEnded(t, running)
			for _, c := range running {
				waitRead(t, a, c)
			}
			waitDrained(t, a)
			took := time.Since(began)
			checkAccounts(t, a)
			dropped := uint64(a.Metric(t, "log_capturer_records_dropped_total", "stage", stage, "reason", "rate_limit"))
			mustExitWell(t, a.Terminate(time.Minute))
			countFiles(t, a, written)
			report, all := arrived.Check(), uint64(2*containers*lines)
			t.Logf("%d of %d dropped, in %v: %v", dropped, all, took.Round(time.Second), report)
			if report.Missing != dropped || report.Repeated+report.Disordered+report.Corrupt+report.Unexpected+report.Foreign != 0 {
				t.Errorf("%d dropped: %v", dropped, report)
			}
			// A first second's worth passes at once, and what the last request owes is
			// not waited for; it may hold a few records more than its limit.
			passed := float64(limited) * (rate*(took.Seconds()+1) + 200)
			switch waits := stage == ""; {
			case waits && dropped > 0:
				t.Errorf("%d were dropped, and should have waited", dropped)
			case !waits && dropped == 0:
				t.Error("none was dropped")
			case float64(all-dropped) > passed:
				t.Errorf("%d passed in %v, at a rate of %d", all-dropped, took, limited*rate)
			}
			if files {
				check(t, "files", written)
			}
		})
	}
	limit := func(when string) string {
		return "{records_per_second: " + strconv.Itoa(rate) + ", when_exceeded: " + when + "}"
	}
	f("a sink waits", "", limit("block"), "", 1, true)
	f("a sink drops", "", limit("drop"), "sink", 1, true)
	f("containers wait", limit("block"), "", "", containers, true)
	f("containers drop", limit("drop"), "", "source", containers, false)
}
