package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"log_capturer/internal/record"
	"log_capturer/internal/sinks/loki/lokitest"
	"log_capturer/internal/testkit/agent"
	"log_capturer/internal/testkit/enginetest"
	"log_capturer/internal/testkit/ledger"
)

// A destination fails in each of its ways while containers write: every line
// arrives once, and health says what is the matter while it is.
func TestFaultyDestination(t *testing.T) {
	const hangTimeout = "1s"
	tests := map[string]func(n int) (lokitest.Fault, bool){
		"answers 500": func(n int) (lokitest.Fault, bool) { return lokitest.Fault{Status: 500}, true },
		"answers 429 with Retry-After": func(n int) (lokitest.Fault, bool) {
			return lokitest.Fault{Status: 429, Header: http.Header{"Retry-After": {"1"}}}, true
		},
		"hangs":                         func(n int) (lokitest.Fault, bool) { return lokitest.Fault{Hang: true}, true },
		"cuts the connection in a body": func(n int) (lokitest.Fault, bool) { return lokitest.Fault{CutBody: true}, true },
	}
	for name, fault := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engine := enginetest.New(t)
			id := label(t)
			const containers = 4
			lines := fewer(2000)
			arrived := ledger.New()
			var failing atomic.Bool
			var failed atomic.Int64
			loki := startLoki(t, arrived, lokitest.Options{Fault: func(n int, _ *http.Request) (lokitest.Fault, bool) {
				if f, bad := fault(n); bad && failing.Load() {
					failed.Add(1)
					return f, true
				}
				return lokitest.Fault{}, false
			}})
			a := agent.Start(t, agent.Options{Config: monitorConfig(id) + "sinks:\n" + lokiSink(loki, "timeout: "+hangTimeout, "linger: 20ms")})
			failing.Store(true)
			var running []*enginetest.Container
			for range containers {
				c := engine.Run(t, enginetest.Options{
					Labels: map[string]string{labelKey: id},
					Args:   []string{"-run-id", "r", "-rate", "2000", "-lines", strconv.Itoa(lines), "-streams", "both"},
				})
				arrived.Expect(c.ID, "r", record.Stdout, uint64(lines))
				arrived.Expect(c.ID, "r", record.Stderr, uint64(lines))
				running = append(running, c)
			}
			enginetest.Eventually(t, time.Minute, "the agent says that the sink fails", func() bool {
				h, err := a.Health()
				if err != nil {
					return false
				}
				for _, c := range h.Components {
					if c.Name == "sink/loki" && c.Status != "healthy" && c.Reason != "" {
						return failed.Load() >= 3
					}
				}
				return false
			})
			if n := acknowledged(t, a, "loki"); n >= uint64(containers*lines*2) {
				t.Errorf("%d records acknowledged by a destination that failed", n)
			}
			failing.Store(false)
			waitEnded(t, running)
			enginetest.Eventually(t, time.Minute, "every line is acknowledged", func() bool {
				return acknowledged(t, a, "loki") == uint64(containers*lines*2)
			})
			waitDrained(t, a)
			checkAccounts(t, a)
			checkHealthy(t, a)
			check(t, "loki", arrived)
		})
	}
}

// A destination refuses one line of every hundred for good. Each refused line
// costs only itself, and is in the dead letters; no other is repeated in a
// destination that knows what it has.
func TestRefusedRecords(t *testing.T) {
	engine := enginetest.New(t)
	id := label(t)
	lines := fewer(2000)
	refused := func(line []byte) bool {
		fields := bytes.Fields(line)
		return len(fields) > 2 && bytes.HasSuffix(fields[2], []byte("00"))
	}
	arrived := ledger.New()
	var mended atomic.Bool
	loki := startLoki(t, arrived, lokitest.Options{
		Deduplicate: true,
		Limits: lokitest.Limits{Refuse: func(_ string, _ int64, line []byte) error {
			if refused(line) && !mended.Load() {
				return errors.New("entry is too long for this stream")
			}
			return nil
		}},
	})
	a := agent.Start(t, agent.Options{Config: monitorConfig(id) + "sinks:\n" + lokiSink(loki)})
	c := engine.Run(t, enginetest.Options{
		Labels: map[string]string{labelKey: id},
		Args:   []string{"-run-id", "r", "-lines", strconv.Itoa(lines), "-streams", "both"},
	})
	waitEnded(t, []*enginetest.Container{c})
	enginetest.Eventually(t, time.Minute, "every line is settled", func() bool {
		dead := uint64(a.Metric(t, "log_capturer_records_dead_lettered_total"))
		return acknowledged(t, a, "loki")+dead == uint64(2*lines)
	})
	checkAccounts(t, a)
	checkHealthy(t, a)
	dead := 0
	letters, err := os.ReadFile(filepath.Join(a.DataDir, "dead-letters", "00000000000000000000.jsonl"))
	enginetest.Must(t, err)
	for text := range strings.Lines(string(letters)) {
		var letter struct{ Sink, Reason, Line, Detail string }
		enginetest.Must(t, json.Unmarshal([]byte(text), &letter))
		if letter.Sink != "loki" || letter.Reason == "" || !refused([]byte(letter.Line)) {
			t.Errorf("dead letter %+v", letter)
		}
		dead++
	}
	if dead != 2*lines/100 {
		t.Errorf("%d dead letters, want %d", dead, 2*lines/100)
	}
	// Together with what was stored, all must be there, once, when the letters
	// were replayed.
	mended.Store(true)
	res, err := http.Post(a.API+"/api/v1/dead-letters/replay", "application/json", strings.NewReader(`{"sink": "loki"}`))
	enginetest.Must(t, err)
	res.Body.Close()
	if res.StatusCode != http.StatusAccepted {
		t.Errorf("replay: %s", res.Status)
	}
	enginetest.Eventually(t, time.Minute, "the letters are delivered and removed", func() bool {
		return a.Metric(t, "log_capturer_dead_letters") == 0
	})
	arrived.Expect(c.ID, "r", record.Stdout, uint64(lines))
	arrived.Expect(c.ID, "r", record.Stderr, uint64(lines))
	report := arrived.Check()
	if report.Missing+report.Repeated+report.Corrupt+report.Unexpected+report.Foreign != 0 {
		t.Error(report)
	}
	t.Log(report)
}

// Without an engine the agent says what it tried and what to do, keeps trying,
// and captures when the engine comes.
func TestNoEngine(t *testing.T) {
	engine := enginetest.NewPrivate(t)
	engine.Stop()
	a := agent.Start(t, agent.Options{Config: "container_monitor: {docker_host: '" + engine.Host + "'}\n"})
	enginetest.Eventually(t, 20*time.Second, "the agent says that there is no engine", func() bool {
		h, err := a.Health()
		return err == nil && h.Code == 503 && strings.Contains(a.Log(), engine.Host) && strings.Contains(a.Log(), "container_monitor.docker_host")
	})
	engine.Start()
	c := engine.Run(t, enginetest.Options{Args: []string{"-run-id", "r", "-lines", "100"}})
	arrived := ledger.New()
	arrived.Expect(c.ID, "r", record.Stdout, 100)
	waitEnded(t, []*enginetest.Container{c})
	waitDrained(t, a)
	checkHealthy(t, a)
	countFiles(t, a, arrived)
	check(t, "files", arrived)
}

// A container whose log driver keeps nothing to read is shown as what it is, and
// makes the agent degraded, until it is excluded.
func TestUnreadableDriver(t *testing.T) {
	engine := enginetest.New(t)
	id := label(t)
	run := func(driver string) *enginetest.Container {
		return engine.Run(t, enginetest.Options{
			Name: id + "-" + driver, Labels: map[string]string{labelKey: id}, LogDriver: driver,
			Args: []string{"-run-id", "r", "-lines", "100", "-hold"},
		})
	}
	run("none")
	read := map[string]*enginetest.Container{"local": run("local"), "json-file": run("json-file")}
	a := agent.Start(t, agent.Options{Config: monitorConfig(id)})
	enginetest.Eventually(t, 30*time.Second, "the agent says which container it can't read, and reads the others", func() bool {
		h, err := a.Health()
		if err != nil || h.Status != "degraded" || acknowledged(t, a, "local_file") != 200 {
			return false
		}
		for _, c := range h.Components {
			if c.Name == "container_monitor" {
				return strings.Contains(c.Reason, id+"-none") && strings.Contains(c.Reason, "exclude")
			}
		}
		return false
	})
	if n := a.Metric(t, "log_capturer_containers", "state", "unreadable"); n != 1 {
		t.Errorf("%v containers are unreadable, want 1", n)
	}
	arrived := ledger.New()
	for _, c := range read {
		arrived.Expect(c.ID, "r", record.Stdout, 100)
	}
	countFiles(t, a, arrived)
	check(t, "files", arrived)
	mustExitWell(t, a.Terminate(time.Minute))
	b := agent.Start(t, agent.Options{DataDir: a.DataDir, Config: monitorConfig(id, "exclude: {names: [\"*-none\"]}")})
	b.WaitReady(30 * time.Second)
	checkHealthy(t, b)
}
