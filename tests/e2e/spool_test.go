package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"log_capturer/internal/record"
	"log_capturer/internal/sinks/loki/lokitest"
	"log_capturer/internal/testkit/agent"
	"log_capturer/internal/testkit/enginetest"
	"log_capturer/internal/testkit/ledger"
)

// smallWindow makes sinks overflow after a few hundred lines.
const smallWindow = "dispatcher: {window_bytes: 256KiB}\n"

// smallMonitor goes with smallWindow.
func smallMonitor(id string) string { return monitorConfig(id, "max_line_bytes: 64KiB") }

// outage is a Loki that is down or up, as the test says.
type outage struct {
	*lokitest.Server
	down atomic.Bool
}

func startOutage(t *testing.T, arrived *ledger.Ledger) *outage {
	o := &outage{}
	o.Server = startLoki(t, arrived, lokitest.Options{Fault: func(int, *http.Request) (lokitest.Fault, bool) {
		return lokitest.Fault{Status: 503}, o.down.Load()
	}})
	return o
}

// sink is the list item of the Loki sink, with a spool.
func (o *outage) sink(spool string) string {
	lines := []string{"batch_bytes: 64KiB", "linger: 10ms", "max_backoff: 200ms"}
	if spool != "" {
		lines = append(lines, "spool: "+spool)
	}
	return strings.Replace(lokiSink(o.Server, lines...), "    max_backoff: 500ms\n", "", 1)
}

// writers runs containers that write so many lines to both streams.
func writers(t *testing.T, engine *enginetest.Engine, id string, containers, lines int, size string) []*enginetest.Container {
	var running []*enginetest.Container
	for range containers {
		running = append(running, engine.Run(t, enginetest.Options{
			Labels: map[string]string{labelKey: id},
			Args:   []string{"-run-id", "r", "-lines", strconv.Itoa(lines), "-streams", "both", "-size", size},
		}))
	}
	return running
}

func expectAll(running []*enginetest.Container, lines int, ledgers ...*ledger.Ledger) {
	for _, c := range running {
		for _, l := range ledgers {
			l.Expect(c.ID, "r", record.Stdout, uint64(lines))
			l.Expect(c.ID, "r", record.Stderr, uint64(lines))
		}
	}
}

// waitSpooled waits until a sink's spool holds this many records.
func waitSpooled(t *testing.T, a *agent.Agent, sink string, least int) {
	t.Helper()
	enginetest.Eventually(t, 3*time.Minute, "the spool holds what the window does not", func() bool {
		samples, err := a.Scrape()
		if err != nil {
			return false
		}
		n, _ := samples.Sum("log_capturer_spool_records", "sink", sink)
		return int(n) >= least
	})
}

// One sink is down beside one that is well: that one has every line while the
// other has none, which gets them all afterwards, although the containers are
// gone and the agent was stopped, which did not take long.
func TestDeadSinkBesideHealthyOne(t *testing.T) {
	engine := enginetest.New(t)
	id := label(t)
	const containers = 4
	lines := fewer(4000)
	files, pushes := ledger.New(), ledger.New()
	loki := startOutage(t, pushes)
	loki.down.Store(true)
	a := agent.Start(t, agent.Options{Config: smallMonitor(id) + smallWindow + "sinks:\n" +
		fileSink + "    batch_bytes: 64KiB\n" + loki.sink("{max_bytes: 100MiB}")})
	running := writers(t, engine, id, containers, lines, "100,300")
	expectAll(running, lines, files, pushes)
	waitEnded(t, running)
	enginetest.Eventually(t, 2*time.Minute, "the healthy sink has everything", func() bool {
		return acknowledged(t, a, "local_file") == uint64(2*containers*lines)
	})
	enginetest.Eventually(t, time.Minute, "the other one has taken it into custody", func() bool {
		return uint64(a.Metric(t, "log_capturer_records_accepted_total", "sink", "loki")) == uint64(2*containers*lines)
	})
	checkAccounts(t, a)
	if n := acknowledged(t, a, "loki"); n != 0 {
		t.Errorf("%d records acknowledged by a destination that is down", n)
	}
	if exit := a.Terminate(time.Minute); exit.Code != 0 || exit.Took > 15*time.Second {
		t.Errorf("the stop took %v, status %d", exit.Took, exit.Code)
	}
	for _, c := range running {
		enginetest.Must(t, c.Remove())
	}
	loki.down.Store(false)
	a.Start()
	enginetest.Eventually(t, 2*time.Minute, "the spool is empty", func() bool {
		return a.Metric(t, "log_capturer_spool_records") == 0 && a.Metric(t, "log_capturer_spool_bytes") == 0
	})
	checkAccounts(t, a)
	mustExitWell(t, a.Terminate(time.Minute))
	countFiles(t, a, files)
	check(t, "files", files)
	check(t, "loki", pushes)
}

// The agent is killed again and again while containers write and the destination
// goes up and down, with records in the spool at two of three kills. The files
// hold every line once; the destination sees again at most what was in flight.
func TestKilledWithSpool(t *testing.T) {
	t.Run("file", func(t *testing.T) { killWithSpool(t, "file") })
	t.Run("api", func(t *testing.T) { killWithSpool(t, "api") })
}

func killWithSpool(t *testing.T, transport string) {
	engine := enginetest.New(t)
	id := label(t)
	const containers, batchRecords, concurrency = 4, 200, 4
	kills := fewer(20)
	if os.Getenv("LOG_CAPTURER_LONG") == "1" {
		kills = 200
	}
	files, pushes := ledger.New(), ledger.New()
	loki := startOutage(t, pushes)
	var running []*enginetest.Container
	for range containers {
		running = append(running, engine.Run(t, enginetest.Options{
			Labels: map[string]string{labelKey: id}, Count: true,
			Args: []string{"-run-id", "r", "-rate", "400", "-streams", "both", "-size", "200,400"},
		}))
	}
	a := agent.Start(t, agent.Options{Config: monitorConfig(id, "max_line_bytes: 64KiB", "transport: "+transport) + smallWindow +
		"sinks:\n" + fileSink + "    batch_bytes: 64KiB\n" + loki.sink("{max_bytes: 1GiB}") + "    batch_records: " + strconv.Itoa(batchRecords) + "\n    concurrency: " + strconv.Itoa(concurrency) + "\n"})
	held := 0
	for n := range kills {
		if loki.down.Store(n%3 > 0); n%3 > 0 {
			waitSpooled(t, a, "loki", 100)
			held++
		} else {
			// Killed while it catches up.
			before := acknowledged(t, a, "loki")
			enginetest.Eventually(t, 3*time.Minute, "something is delivered", func() bool {
				return acknowledged(t, a, "loki") > before
			})
		}
		a.Kill()
		a.Start()
		a.WaitReady(time.Minute)
	}
	if held < kills/2 {
		t.Errorf("the spool held records at %d of %d kills", held, kills)
	}
	loki.down.Store(false)
	stopAll(t, running, files, pushes)
	waitDrained(t, a)
	checkAccounts(t, a)
	checkHealthy(t, a)
	mustExitWell(t, a.Terminate(time.Minute))
	countFiles(t, a, files)
	check(t, "files", files)
	report := pushes.Check()
	t.Logf("loki: %v", report)
	// A batch may hold a few records more than its limit.
	if most := uint64(kills * concurrency * 3 * batchRecords); !report.OKButRepeated() || report.Repeated > most {
		t.Errorf("loki: %v; at most %d may be repeated", report, most)
	}
}

// The file system of data_dir fills up: health says so, and when the destination
// comes back every line is delivered, once.
func TestFullFileSystem(t *testing.T) {
	engine := enginetest.New(t)
	id := label(t)
	const containers = 2
	lines := fewer(10000)
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("mount a small file system (this needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	arrived := ledger.New()
	loki := startOutage(t, arrived)
	loki.down.Store(true)
	a := agent.Start(t, agent.Options{DataDir: filepath.Join(disk, "data"),
		Config: smallMonitor(id) + smallWindow + "sinks:\n" + loki.sink("{max_bytes: 2MiB}")})
	running := writers(t, engine, id, containers, lines, "500")
	expectAll(running, lines, arrived)
	waitEnded(t, running)
	enginetest.Eventually(t, 2*time.Minute, "health says that the disk is full", func() bool {
		h, err := a.Health()
		if err != nil {
			return false
		}
		for _, c := range h.Components {
			if c.Name == "spool/loki" && c.Status == "unhealthy" && strings.Contains(c.Reason, "no space left") {
				return true
			}
		}
		return false
	})
	checkAccounts(t, a)
	if n := a.Metric(t, "log_capturer_records_accepted_total"); n == float64(2*containers*lines) {
		t.Error("everything fitted")
	}
	loki.down.Store(false)
	enginetest.Eventually(t, 2*time.Minute, "everything is delivered", func() bool {
		return acknowledged(t, a, "loki") == uint64(2*containers*lines)
	})
	waitDrained(t, a)
	checkAccounts(t, a)
	mustExitWell(t, a.Terminate(time.Minute))
	check(t, "loki", arrived)
}

// A full spool that drops its oldest records keeps nobody waiting, and counts
// what is missing at the destination, to the record.
func TestSpoolDropsOldest(t *testing.T) {
	engine := enginetest.New(t)
	id := label(t)
	const containers = 2
	lines := fewer(20000)
	arrived := ledger.New()
	loki := startOutage(t, arrived)
	loki.down.Store(true)
	a := agent.Start(t, agent.Options{Config: smallMonitor(id) + smallWindow + "sinks:\n" +
		loki.sink("{max_bytes: 512KiB, when_full: drop_oldest}")})
	running := writers(t, engine, id, containers, lines, "500")
	expectAll(running, lines, arrived)
	waitEnded(t, running)
	enginetest.Eventually(t, 2*time.Minute, "everything is accepted", func() bool {
		return uint64(a.Metric(t, "log_capturer_records_accepted_total")) == uint64(2*containers*lines)
	})
	loki.down.Store(false)
	waitDrained(t, a)
	checkAccounts(t, a)
	dropped := uint64(a.Metric(t, "log_capturer_records_dropped_total", "stage", "spool", "reason", "full"))
	report := arrived.Check()
	t.Logf("loki: %v, %d dropped", report, dropped)
	if dropped == 0 || report.Missing != dropped || report.Repeated+report.Corrupt+report.Unexpected+report.Foreign != 0 {
		t.Errorf("%d records are counted as dropped: %v", dropped, report)
	}
	mustExitWell(t, a.Terminate(time.Minute))
}

// A spool is turned off while it holds records: they go first, and nothing is
// lost or repeated.
func TestSpoolTurnedOff(t *testing.T) {
	engine := enginetest.New(t)
	id := label(t)
	lines := fewer(3000)
	arrived := ledger.New()
	loki := startOutage(t, arrived)
	loki.down.Store(true)
	with := smallMonitor(id) + smallWindow + "sinks:\n" + loki.sink("{max_bytes: 100MiB}")
	a := agent.Start(t, agent.Options{Config: with})
	first := writers(t, engine, id, 2, lines, "300")
	waitEnded(t, first)
	waitSpooled(t, a, "loki", 1000)
	mustExitWell(t, a.Terminate(time.Minute))
	without := smallMonitor(id) + smallWindow + "sinks:\n" + loki.sink("")
	b := agent.Start(t, agent.Options{DataDir: a.DataDir, Config: without})
	second := writers(t, engine, id, 2, lines, "300")
	expectAll(append(first, second...), lines, arrived)
	waitEnded(t, second)
	waitSpooled(t, b, "loki", 1000)
	loki.down.Store(false)
	enginetest.Eventually(t, 2*time.Minute, "the spool is empty", func() bool {
		return b.Metric(t, "log_capturer_spool_bytes") == 0
	})
	waitDrained(t, b)
	checkAccounts(t, b)
	checkHealthy(t, b)
	mustExitWell(t, b.Terminate(time.Minute))
	if _, err := os.Stat(filepath.Join(b.DataDir, "spool", "loki")); err != nil {
		t.Error(err)
	}
	check(t, "loki", arrived)
}
