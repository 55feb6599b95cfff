package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"log_capturer/internal/record"
	"log_capturer/internal/testkit/agent"
	"log_capturer/internal/testkit/enginetest"
	"log_capturer/internal/testkit/ledger"
	"log_capturer/internal/testkit/numbered"
)

// long returns n, or with LOG_CAPTURER_LONG set many.
func long(n, many int) int {
	if os.Getenv("LOG_CAPTURER_LONG") != "" {
		return many
	}
	return n
}

// dataRoot returns the directory of an engine's data.
func dataRoot(t *testing.T, e *enginetest.Engine) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	info, err := e.Client.Info(ctx, client.InfoOptions{})
	enginetest.Must(t, err)
	return info.Info.DockerRootDir
}

// logFile returns the path of a container's json-file.
func logFile(t *testing.T, c *enginetest.Container) string {
	t.Helper()
	info, err := c.Inspect()
	enginetest.Must(t, err)
	return info.LogPath
}

// transports waits until the agent reads a container in a way, and returns the
// reason that it gives.
func waitTransport(t *testing.T, a *agent.Agent, c *enginetest.Container, want string) (reason string) {
	t.Helper()
	state := ""
	defer func() {
		if t.Failed() {
			t.Logf("container is %s", state)
		}
	}()
	enginetest.Eventually(t, time.Minute, "the container is read over "+want, func() bool {
		for _, l := range containerStates(t, a) {
			if l.ID == c.ID {
				state = fmt.Sprintf("%+v", l)
				reason = l.Reason
				return l.Transport == want && l.State == "reading" && l.Lease == (want == "api")
			}
		}
		return false
	})
	return reason
}

type containerState struct {
	ID, State, Transport string
	Lease                bool
	Gaps                 uint64 `json:"suspected_gaps"`
	Reason               string `json:"transport_reason"`
}

func containerStates(t *testing.T, a *agent.Agent) (list []containerState) {
	t.Helper()
	res, err := http.Get(a.API + "/api/v1/containers")
	if err != nil {
		return nil
	}
	defer res.Body.Close()
	enginetest.Must(t, json.NewDecoder(res.Body).Decode(&list))
	return list
}

// stretches are the lines of one stream as they arrived: how many there are, the
// last one's number, and how many stretches of them are missing.
// Whether the first ones are is apart from these.
type stretches struct {
	lines, last, holes uint64
	headless           bool
}

// missing returns in how many places lines are missing of so many. The last ones
// may be, when the other stream went on for longer than is retained.
func (s stretches) missing(lines int) uint64 {
	if s.last < uint64(lines) {
		return s.holes + 1
	}
	return s.holes
}

// countStretches reads what arrived, in which lines may be missing but none may
// be repeated, out of order or damaged.
func countStretches(t *testing.T, a *agent.Agent) map[string]*[record.NumStreams]stretches {
	t.Helper()
	arrived := map[string]*[record.NumStreams]stretches{}
	readFiles(t, filepath.Join(a.DataDir, "logs"), func(l *fileLine) {
		parsed, err := numbered.Parse(l.bytes())
		if err != nil || parsed.Stream != l.stream() {
			t.Fatalf("%v in %q", err, l.bytes())
		}
		if arrived[l.ContainerID] == nil {
			arrived[l.ContainerID] = &[record.NumStreams]stretches{}
		}
		s := &arrived[l.ContainerID][parsed.Stream]
		switch {
		case parsed.N <= s.last:
			t.Fatalf("%s of %.12s: line %d after %d", parsed.Stream, l.ContainerID, parsed.N, s.last)
		case parsed.N > s.last+1 && s.last == 0:
			s.headless = true
		case parsed.N > s.last+1:
			s.holes++
		}
		s.lines, s.last = s.lines+1, parsed.N
	})
	return arrived
}

// Containers write as fast as they can while the engine rotates their files.
// What was rotated away before anybody could read it is not there, and each such
// place is counted as a suspected gap; all else is there once and in order.
func TestContainerFileRotation(t *testing.T) {
	engine := enginetest.New(t)
	id := label(t)
	lines := fewer(long(8_000, 1_000_000))
	size := "256k"
	if lines >= 250_000 {
		size = "1m"
	}
	a := agent.Start(t, agent.Options{Config: monitorConfig(id, "transport: file") + "sinks:\n" + fileSink})
	type variant struct {
		opts map[string]string
		c    *enginetest.Container
	}
	var variants []variant
	for _, files := range []string{"1", "3", "5"} {
		for _, compress := range []string{"false", "true"} {
			if files == "1" && compress == "true" {
				continue // the engine refuses that
			}
			opts := map[string]string{"max-size": size, "max-file": files, "compress": compress}
			variants = append(variants, variant{opts, engine.Run(t, enginetest.Options{
				Labels: map[string]string{labelKey: id}, LogOpts: opts,
				Args: []string{"-run-id", "r", "-lines", strconv.Itoa(lines), "-streams", "both", "-size", "20,100,300", "-payload", "mixed"},
			})})
		}
	}
	for _, v := range variants {
		_, err := v.c.Wait(5 * time.Minute)
		enginetest.Must(t, err)
	}
	waitDrained(t, a)
	checkAccounts(t, a)
	checkHealthy(t, a)
	if lost := a.Metric(t, "log_capturer_container_lost_bytes_total"); lost != 0 {
		t.Errorf("%v bytes lost", lost)
	}
	if n := a.Metric(t, "log_capturer_active_streams"); n != 0 {
		t.Errorf("%v streams are open", n)
	}
	arrived := countStretches(t, a)
	// What a container may have written before its file was seen is known when
	// the engine has said how the file is rotated.
	gaps := map[string]uint64{}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		enough := true
		for _, s := range containerStates(t, a) {
			gaps[s.ID] = s.Gaps
		}
		for _, v := range variants {
			if got := arrived[v.c.ID]; got != nil {
				need := max(got[0].missing(lines), got[1].missing(lines))
				if (got[0].headless || got[1].headless) && v.opts["max-file"] != "1" {
					need++
				}
				enough = enough && need <= gaps[v.c.ID]
			}
		}
		if enough {
			break
		}
	}
	for _, v := range variants {
		got := arrived[v.c.ID]
		if got == nil {
			t.Errorf("%v: nothing arrived", v.opts)
			continue
		}
		if got[0].last != uint64(lines) && got[1].last != uint64(lines) {
			t.Errorf("%v: the last lines are %d and %d, none is %d", v.opts, got[0].last, got[1].last, lines)
		}
		for i, s := range got {
			stream := record.Stream(i)
			s.holes = s.missing(lines)
			// With one file kept, an empty one may be the first or have followed
			// others: nobody can tell what came before it.
			if s.headless && v.opts["max-file"] != "1" {
				s.holes++
			}
			t.Logf("%v %v: %d lines, %d holes, %d suspected gaps", v.opts, stream, s.lines, s.holes, gaps[v.c.ID])
			if s.holes > gaps[v.c.ID] {
				t.Errorf("%v %v: lines are missing in %d places, %d gaps were suspected", v.opts, stream, s.holes, gaps[v.c.ID])
			}
		}
		if n := strings.Count(a.Log(), "msg=suspected_gap"); uint64(n) < gaps[v.c.ID] {
			t.Errorf("%d gaps are in the log, want at least %d", n, gaps[v.c.ID])
		}
	}
}

// The agent is killed while files are rotated, and is down over several
// rotations: with what is retained, plain and compressed, nothing is missing.
func TestKilledInFileRotation(t *testing.T) {
	engine := enginetest.New(t)
	id := label(t)
	const lines = 1000
	kills := fewer(long(8, 30))
	arrived := ledger.New()
	var writers []*enginetest.Container
	for _, compress := range []string{"false", "true"} {
		// A start writes some 400 KiB, so that what two starts write is retained.
		writers = append(writers, engine.Create(t, enginetest.Options{
			Labels: map[string]string{labelKey: id}, Count: true,
			LogOpts: map[string]string{"max-size": "100k", "max-file": "20", "compress": compress},
			Args:    []string{"-run-id", "r", "-lines", strconv.Itoa(lines), "-streams", "both", "-size", "20,100,200"},
		}))
	}
	a := agent.Start(t, agent.Options{Config: monitorConfig(id, "transport: file") + "sinks:\n" + fileSink})
	start := func() {
		for _, c := range writers {
			enginetest.Must(t, c.Start())
		}
	}
	for n := range kills {
		start()
		if n%2 == 0 {
			time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond) // the moment is to be any
			a.Kill()
			waitEnded(t, writers)
		} else {
			a.Kill()
			waitEnded(t, writers)
			start()
			waitEnded(t, writers)
		}
		a.Start()
		waitDrained(t, a)
	}
	checkAccounts(t, a)
	checkHealthy(t, a)
	if gaps := strings.Count(a.Log(), "msg=suspected_gap"); gaps != 0 {
		t.Errorf("%v suspected gaps", gaps)
	}
	for _, c := range writers {
		counts, err := c.Written()
		enginetest.Must(t, err)
		for k, count := range counts {
			for s, n := range count.Lines {
				arrived.Expect(c.ID, numbered.RunOf("r", k+1), record.Stream(s), n)
			}
		}
	}
	countFiles(t, a, arrived)
	check(t, "files", arrived)
}

// Containers that the engine removes as soon as they have ended, which is
// milliseconds after their start, four at a time.
func TestShortLivedContainers(t *testing.T) {
	engine := enginetest.New(t)
	id := label(t)
	const lines = 20
	containers := fewer(long(100, 500))
	a := agent.Start(t, agent.Options{Config: monitorConfig(id, "transport: auto") + "sinks:\n" + fileSink})
	work := make(chan int, containers)
	for n := range containers {
		work <- n
	}
	close(work)
	ids := make([]string, containers)
	var runners sync.WaitGroup
	for range 4 {
		runners.Go(func() {
			for n := range work {
				c := engine.Create(t, enginetest.Options{
					Labels: map[string]string{labelKey: id}, AutoRemove: true,
					Args: []string{"-run-id", "r", "-lines", strconv.Itoa(lines), "-streams", "both"},
				})
				ids[n] = c.ID
				if err := c.Start(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	runners.Wait()
	var states []containerState
	enginetest.Eventually(t, 2*time.Minute, "all are gone and read", func() bool {
		states = containerStates(t, a)
		// Other tests' containers are on the same engine.
		return states != nil && !slices.ContainsFunc(states, func(s containerState) bool { return slices.Contains(ids, s.ID) }) &&
			a.Metric(t, "log_capturer_queue_records") == 0
	})
	checkAccounts(t, a)
	checkHealthy(t, a)
	arrived := countStretches(t, a)
	gaps := a.Metric(t, "log_capturer_suspected_gaps_total")
	missed := 0
	for _, id := range ids {
		got := arrived[id]
		if got == nil {
			got = &[record.NumStreams]stretches{}
		}
		if whole := (stretches{lines: lines, last: lines}); got[0] != whole || got[1] != whole {
			missed++
			t.Errorf("%.12s: %+v", id, *got)
		}
	}
	t.Logf("%d of %d containers are not there in full, %v suspected gaps", missed, containers, gaps)
	// A start that is heard late is recognised when the engine has said since that
	// the container has stopped. Where it has not said anything yet it looks like
	// another run: one in some hundreds, on a busy machine.
	if gaps > float64(missed+max(1, containers/100)) {
		t.Errorf("%v suspected gaps", gaps)
	}
}

// The files are taken away from the agent and brought back again and again while
// containers write: each line comes once, over the one way or the other.
func TestTransportChange(t *testing.T) {
	engine := enginetest.New(t)
	id := label(t)
	changes := fewer(long(15, 100))
	real := dataRoot(t, engine)
	root := filepath.Join(t.TempDir(), "root")
	enginetest.Must(t, os.Symlink(real, root))
	arrived := ledger.New()
	var running []*enginetest.Container
	for range 3 {
		running = append(running, engine.Run(t, enginetest.Options{
			Labels: map[string]string{labelKey: id}, Count: true,
			Args: []string{"-run-id", "r", "-rate", "30", "-streams", "both", "-size", "50,200,20000"},
		}))
	}
	a := agent.Start(t, agent.Options{Config: monitorConfig(id, "transport: auto", "data_root: "+root, "reconcile_interval: 200ms") +
		"sinks:\n" + fileSink})
	for n := range changes {
		want := "file"
		if n%2 == 1 {
			want = "api"
			enginetest.Must(t, os.Remove(root))
		} else if n > 0 {
			enginetest.Must(t, os.Symlink(real, root))
		}
		for _, c := range running {
			if reason := waitTransport(t, a, c, want); (reason == "") != (want == "file") {
				t.Errorf("read over %s, because %q", want, reason)
			}
		}
	}
	stopAll(t, running, arrived)
	waitDrained(t, a)
	checkAccounts(t, a)
	checkHealthy(t, a)
	if gaps := a.Metric(t, "log_capturer_suspected_gaps_total"); gaps != 0 {
		t.Errorf("%v suspected gaps", gaps)
	}
	countFiles(t, a, arrived)
	check(t, "files", arrived)
}

// A file is damaged while nothing writes to it, as a power failure does. What is
// damaged is counted in bytes, and nothing behind it is lost.
func TestCorruptContainerFile(t *testing.T) {
	engine := enginetest.New(t)
	id := label(t)
	const lines = 50
	c := engine.Create(t, enginetest.Options{
		Labels: map[string]string{labelKey: id}, Count: true,
		Args: []string{"-run-id", "r", "-lines", strconv.Itoa(lines)},
	})
	run := func() {
		enginetest.Must(t, c.Start())
		waitEnded(t, []*enginetest.Container{c})
	}
	a := agent.Start(t, agent.Options{Config: monitorConfig(id, "transport: file") + "sinks:\n" + fileSink})
	run()
	waitRead(t, a, c)
	path := logFile(t, c)
	lost := 0
	tear := func(damage string) {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		enginetest.Must(t, err)
		_, err = f.WriteString(damage)
		enginetest.Must(t, err)
		enginetest.Must(t, f.Close())
		lost += len(damage)
	}
	// The next entries begin right behind what is torn, and behind NULs.
	tear(`{"log":"torn \u00`)
	run()
	tear(strings.Repeat("\x00", 100_000))
	run()
	tear(`{"log":"torn` + strings.Repeat("\x00", 70_000))
	run()
	waitRead(t, a, c)
	lostBytes := func() int { return int(a.Metric(t, "log_capturer_container_lost_bytes_total")) }
	enginetest.Eventually(t, time.Minute, "the loss is counted", func() bool { return lostBytes() == lost })
	// While the agent is down a line in the middle of the next run is damaged.
	mustExitWell(t, a.Terminate(time.Minute))
	run()
	b, err := os.ReadFile(path)
	enginetest.Must(t, err)
	all := bytes.SplitAfter(b, []byte("\n"))
	victim := all[len(all)-1-lines/2]
	offset := int64(len(b))
	for _, l := range all[len(all)-1-lines/2:] {
		offset -= int64(len(l))
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	enginetest.Must(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte{0}, len(victim)-20), offset)
	enginetest.Must(t, err)
	enginetest.Must(t, f.Close())
	a.Start()
	waitRead(t, a, c)
	waitDrained(t, a)
	if got := lostBytes(); got != len(victim) {
		t.Errorf("%d bytes are counted as lost, want %d", got, len(victim))
	}
	checkAccounts(t, a)
	if gaps := strings.Count(a.Log(), "msg=suspected_gap"); gaps != 0 {
		t.Errorf("%v suspected gaps", gaps)
	}
	var damaged struct{ Log string }
	enginetest.Must(t, json.Unmarshal(victim, &damaged))
	parsed, err := numbered.Parse([]byte(strings.TrimSuffix(damaged.Log, "\n")))
	enginetest.Must(t, err)
	got := map[string]int{}
	readFiles(t, filepath.Join(a.DataDir, "logs"), func(l *fileLine) {
		line, err := numbered.Parse(l.bytes())
		enginetest.Must(t, err)
		got[fmt.Sprintf("%s %d", line.Run, line.N)]++
	})
	for k := range 5 {
		for n := 1; n <= lines; n++ {
			name := fmt.Sprintf("%s %d", numbered.RunOf("r", k+1), n)
			want := 1
			if name == fmt.Sprintf("%s %d", parsed.Run, parsed.N) {
				want = 0
			}
			if got[name] != want {
				t.Errorf("line %s is there %d times, want %d", name, got[name], want)
			}
		}
	}
}
