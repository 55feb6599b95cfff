package e2e

import (
	"fmt"
	"os"
	"testing"
	"time"

	"log_capturer/internal/record"
	"log_capturer/internal/testkit/agent"
	"log_capturer/internal/testkit/enginetest"
	"log_capturer/internal/testkit/ledger"
	"log_capturer/internal/testkit/numbered"
)

// Containers whose logs' files are rotated about every second while they are
// followed: the engine (seen on 20.10) sends what begins a new file twice. They
// write slowly enough that it does not leave a file out.
func TestRotatedFiles(t *testing.T) {
	engine := enginetest.New(t)
	id := label(t)
	span := 6 * time.Second
	if os.Getenv("LOG_CAPTURER_LONG") == "1" {
		span = 5 * time.Minute
	}
	a := agent.Start(t, agent.Options{Config: monitorConfig(id) + "sinks:\n" + fileSink})
	arrived := ledger.New()
	var running []*enginetest.Container
	for i := range 4 {
		driver, streams := "json-file", "both"
		if i == 0 {
			driver = "local"
		}
		if i == 1 {
			streams = "out"
		}
		running = append(running, engine.Run(t, enginetest.Options{
			Labels: map[string]string{labelKey: id}, Count: true, LogDriver: driver,
			LogOpts: map[string]string{"max-size": "20k", "max-file": "5", "compress": "false"},
			Args:    []string{"-run-id", "r", "-rate", "40", "-streams", streams, "-duration", span.String(), "-hold", "-size", "20,100,300"},
		}))
	}
	time.Sleep(span)
	for i, c := range running {
		enginetest.Must(t, c.Stop(10*time.Second))
		counts, err := c.Written()
		enginetest.Must(t, err)
		arrived.ExpectCounts(c.ID, "r", counts)
		arrived.ExpectEnd(c.ID, numbered.RunOf("r", 1), record.Stdout)
		if i != 1 {
			arrived.ExpectEnd(c.ID, numbered.RunOf("r", 1), record.Stderr)
		}
	}
	waitDrained(t, a)
	checkAccounts(t, a)
	if gaps := a.Metric(t, "log_capturer_suspected_gaps_total"); gaps != 0 {
		t.Errorf("%v suspected gaps", gaps)
	}
	said := fmt.Sprintf("entries that the engine sent twice: %v", a.Metric(t, "log_capturer_engine_repeats_total"))
	for _, verdict := range []string{"repeated", "written", "unknown"} {
		said += fmt.Sprintf(", %s %v", verdict, a.Metric(t, "log_capturer_engine_repeat_checks_total", "verdict", verdict))
	}
	t.Log(said)
	countFiles(t, a, arrived)
	check(t, "files", arrived)
}
