package e2e

import (
	"io"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"log_capturer/internal/framing"
	"log_capturer/internal/sinks/loki/lokitest"
	"log_capturer/internal/testkit/agent"
	"log_capturer/internal/testkit/enginetest"
	"log_capturer/internal/testkit/ledger"
)

// The agent is killed again and again while containers write, its files being
// rotated and compressed meanwhile: the files hold every line once; the HTTP
// destination sees again at most what was in flight.
func TestKilledAgent(t *testing.T) {
	engine := enginetest.New(t)
	id := label(t)
	const containers, batchRecords, concurrency = 8, 200, 4
	kills, terms := fewer(30), fewer(10)
	files, pushes := ledger.New(), ledger.New()
	loki := startLoki(t, pushes, lokitest.Options{})
	var running []*enginetest.Container
	for range containers {
		running = append(running, engine.Run(t, enginetest.Options{
			Labels: map[string]string{labelKey: id}, Count: true,
			Args: []string{"-run-id", "r", "-rate", "40", "-streams", "both", "-size", "50,200,20000"},
		}))
	}
	a := agent.Start(t, agent.Options{Config: monitorConfig(id, "rotation_interval: 1s") + "sinks:\n" +
		fileSink + "    rotate: {max_bytes: 2MiB}\n" +
		lokiSink(loki, "batch_records: "+strconv.Itoa(batchRecords), "concurrency: "+strconv.Itoa(concurrency))})
	for n := range kills + terms {
		pause := time.NewTimer(time.Duration(rand.IntN(1500)) * time.Millisecond)
		<-pause.C
		if n%((kills+terms)/terms) == 0 {
			if exit := a.Terminate(time.Minute); exit.Code != 0 {
				t.Fatalf("exit status %d after SIGTERM", exit.Code)
			}
		} else {
			a.Kill()
		}
		a.Start()
	}
	stopAll(t, running, files, pushes)
	waitDrained(t, a)
	checkAccounts(t, a)
	checkHealthy(t, a)
	if gaps := a.Metric(t, "log_capturer_suspected_gaps_total"); gaps != 0 {
		t.Errorf("%v suspected gaps", gaps)
	}
	// A running agent compresses what it has closed.
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

// stopAll stops containers that count their lines, and expects these.
func stopAll(t *testing.T, running []*enginetest.Container, ledgers ...*ledger.Ledger) {
	t.Helper()
	for _, c := range running {
		enginetest.Must(t, c.Stop(20*time.Second))
	}
	for _, c := range running {
		expectWritten(t, c, ledgers...)
	}
}

// expectWritten expects what a container counted. The starts that it was killed
// in have no end line.
func expectWritten(t *testing.T, c *enginetest.Container, ledgers ...*ledger.Ledger) {
	t.Helper()
	counts, err := c.Written()
	enginetest.Must(t, err)
	for _, l := range ledgers {
		l.ExpectCounts(c.ID, "r", counts)
	}
}

// Containers are stopped, started, restarted, paused, renamed, killed and
// removed while they write, and while the agent is down.
func TestContainerLifecycle(t *testing.T) {
	engine := enginetest.New(t)
	id := label(t)
	arrived := ledger.New()
	run := func() *enginetest.Container {
		return engine.Run(t, enginetest.Options{
			Labels: map[string]string{labelKey: id}, Count: true,
			Args: []string{"-run-id", "r", "-rate", "300", "-streams", "both"},
		})
	}
	// One file a container, whatever its name is at the time.
	a := agent.Start(t, agent.Options{Config: monitorConfig(id, "rotation_interval: 2s", "reconcile_interval: 2s") +
		"sinks:\n" + fileSink + "    path: \"{data_dir}/logs/{container_id}.log\"\n"})
	stopped, restarted, paused, renamed, killed := run(), run(), run(), run(), run()
	all := []*enginetest.Container{stopped, restarted, paused, renamed, killed}
	must := func(err error) { t.Helper(); enginetest.Must(t, err) }
	for n := range fewer(8) {
		must(stopped.Stop(10 * time.Second))
		must(restarted.Restart(10 * time.Second))
		must(paused.Pause())
		must(renamed.Rename(id + "-" + strconv.Itoa(n)))
		must(killed.Kill("KILL"))
		_, err := killed.Wait(time.Minute)
		must(err)
		must(killed.Start())
		must(stopped.Start())
		must(paused.Unpause())
		if n%3 == 2 {
			// The same once more while nobody is there to see it.
			mustExitWell(t, a.Terminate(time.Minute))
			must(stopped.Restart(10 * time.Second))
			must(killed.Kill("KILL"))
			_, err := killed.Wait(time.Minute)
			must(err)
			must(killed.Start())
			gone := run()
			pauseFor(t, 300*time.Millisecond)
			must(gone.Stop(10 * time.Second))
			all = append(all, gone)
			a.Start()
		}
	}
	// A container that is removed while it runs keeps what the agent has read:
	// the engine's copy goes with it. Stopped and read, nothing may be missing.
	removed := run()
	pauseFor(t, 500*time.Millisecond)
	must(removed.Stop(10 * time.Second))
	waitRead(t, a, removed)
	must(removed.Remove())
	all = append(all, removed)

	stopAll(t, all[:len(all)-1])
	waitDrained(t, a)
	for _, c := range all {
		expectWritten(t, c, arrived)
	}
	checkAccounts(t, a)
	checkHealthy(t, a)
	names := map[string]bool{}
	readFiles(t, a.DataDir+"/logs", func(l *fileLine) {
		arrived.ObserveStream(l.ContainerID, l.stream(), l.bytes())
		if l.ContainerID == renamed.ID {
			names[l.ContainerName] = true
		}
	})
	check(t, "files", arrived)
	if len(names) < 3 {
		t.Errorf("renames did not show: %v", names)
	}
}

// mustExitWell fails the test when the agent did not end with status 0.
func mustExitWell(t *testing.T, exit agent.Exit) {
	t.Helper()
	if exit.Code != 0 {
		t.Fatalf("exit status %d after SIGTERM", exit.Code)
	}
}

// pauseFor lets the containers write for a while.
func pauseFor(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

// The engine itself is killed and started again, with and without its
// containers surviving.
func TestKilledEngine(t *testing.T) {
	for name, flags := range map[string][]string{"containers end": nil, "containers go on": {"--live-restore"}} {
		t.Run(name, func(t *testing.T) {
			engine := enginetest.NewPrivate(t, flags...)
			arrived := ledger.New()
			var running []*enginetest.Container
			for range 6 {
				running = append(running, engine.Run(t, enginetest.Options{
					Count: true, Args: []string{"-run-id", "r", "-rate", "200", "-streams", "both"},
				}))
			}
			a := agent.Start(t, agent.Options{Config: "container_monitor:\n  transport: api\n  docker_host: " + engine.Host + "\n"})
			for range 3 {
				pauseFor(t, time.Second)
				engine.Kill()
				enginetest.Eventually(t, 30*time.Second, "the agent says that the engine is gone", func() bool {
					h, err := a.Health()
					return err == nil && h.Status == "unhealthy" && h.Code == 503
				})
				engine.Start()
				for _, c := range running {
					enginetest.Must(t, c.Start()) // one that runs stays as it is
				}
				enginetest.Eventually(t, 30*time.Second, "the agent is healthy again", func() bool {
					h, err := a.Health()
					return err == nil && h.Status == "healthy"
				})
			}
			stopAll(t, running, arrived)
			waitDrained(t, a)
			checkAccounts(t, a)
			checkHealthy(t, a)
			countFiles(t, a, arrived)
			// What was on its way inside the engine when it was killed is lost
			// for everybody: its own log is what there was to capture.
			kept := ledger.New()
			for _, c := range running {
				expectWritten(t, c, kept)
				countEngineLog(t, engine.Engine, c, kept)
			}
			got, want := arrived.Check(), kept.Check()
			t.Logf("files: %v", got)
			t.Logf("the engine's log: %v", want)
			if got.String() != want.String() {
				t.Error("the files do not hold what the engine's log holds")
			}
			if got.Repeated+got.Disordered+got.Corrupt+got.Misplaced+got.Foreign != 0 {
				t.Error("lines are repeated, out of order or damaged")
			}
		})
	}
}

// countEngineLog enters what the engine has kept of a stopped container.
func countEngineLog(t *testing.T, engine *enginetest.Engine, c *enginetest.Container, l *ledger.Ledger) {
	t.Helper()
	body, err := engine.Client.ContainerLogs(t.Context(), c.ID, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true})
	enginetest.Must(t, err)
	defer body.Close()
	decoder := framing.NewDocker(framing.DockerOptions{MaxLine: 1 << 20}, func(line *framing.Line) error {
		l.ObserveStream(c.ID, line.Stream, line.Bytes)
		return nil
	})
	buffer := make([]byte, 64<<10)
	for {
		n, err := body.Read(buffer)
		enginetest.Must(t, decoder.Feed(buffer[:n]))
		if err == io.EOF {
			enginetest.Must(t, decoder.Flush())
			return
		}
		enginetest.Must(t, err)
	}
}
