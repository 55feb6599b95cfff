// Package e2e runs the real agent against a real Docker Engine and counts every
// line at the destination.
package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"log_capturer/internal/record"
	"log_capturer/internal/sinks/loki/lokitest"
	"log_capturer/internal/testkit/agent"
	"log_capturer/internal/testkit/enginetest"
	"log_capturer/internal/testkit/ledger"
	"log_capturer/internal/testkit/scrape"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// raceBuild says that the agent is built with the race detector, several times
// slower: tests write less then.
var raceBuild = os.Getenv(agent.RaceVariable) == "1"

// fewer returns n, or with the race detector a quarter of it.
func fewer(n int) int {
	if raceBuild {
		return max(n/4, 1)
	}
	return n
}

// label marks the containers of one test, so that its agent captures those of
// no other.
func label(t *testing.T) string {
	return strings.ToLower(fmt.Sprintf("%s-%d", strings.ReplaceAll(t.Name(), "/", "-"), rand.Uint32()))
}

const labelKey = "log_capturer.e2e"

// monitorConfig is the section of the monitor that captures the containers with
// a label, over the API if nothing else is said. Further keys follow as lines of
// the section.
func monitorConfig(label string, lines ...string) string {
	config := "container_monitor:\n  include: {labels: [\"" + labelKey + "=" + label + "\"]}\n"
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "transport:") }) {
		lines = append(lines, "transport: api")
	}
	for _, l := range lines {
		config += "  " + l + "\n"
	}
	return config
}

// fileLine is a line of the local_file sink's JSON format.
type fileLine struct {
	Time          time.Time `json:"time"`
	Stream        string    `json:"stream"`
	Line          *string   `json:"line"`
	Base64        []byte    `json:"line_base64"`
	ContainerID   string    `json:"container_id"`
	ContainerName string    `json:"container_name"`
	Image         string    `json:"image"`
	Host          string    `json:"host"`
	FilePath      string    `json:"file_path"`
	Cut           bool      `json:"cut"`
	Continued     bool      `json:"continued"`
	Unterminated  bool      `json:"unterminated"`
}

func (l *fileLine) bytes() []byte {
	if l.Line != nil {
		return []byte(*l.Line)
	}
	return l.Base64
}

func (l *fileLine) stream() record.Stream {
	if l.Stream == "stderr" {
		return record.Stderr
	}
	return record.Stdout
}

// readFiles calls visit for each line of the local_file sink's files under dir,
// those that were rotated and compressed included, oldest first.
func readFiles(t *testing.T, dir string, visit func(*fileLine)) {
	t.Helper()
	byPath := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(path, ".log") {
			// A closed file is named after the time of its closing, so names
			// sort by time; the active file has none and comes last.
			sortKey := strings.TrimSuffix(path, ".log") + "~"
			if base := filepath.Base(path); strings.Contains(base, "Z-") {
				sortKey = path
			}
			byPath[sortKey] = path
		}
		return err
	})
	enginetest.Must(t, err)
	for _, key := range slices.Sorted(maps.Keys(byPath)) {
		readFile(t, byPath[key], visit)
	}
}

func readFile(t *testing.T, path string, visit func(*fileLine)) {
	t.Helper()
	f, err := os.Open(path)
	enginetest.Must(t, err)
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".zst") {
		z, err := zstd.NewReader(f)
		enginetest.Must(t, err)
		defer z.Close()
		r = z
	}
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		var l fileLine
		if err := json.Unmarshal(scanner.Bytes(), &l); err != nil {
			t.Fatalf("%s: %v in line %q", path, err, scanner.Text())
		}
		visit(&l)
	}
	enginetest.Must(t, scanner.Err())
}

// countFiles enters what the local_file sink wrote into a ledger.
func countFiles(t *testing.T, a *agent.Agent, l *ledger.Ledger) {
	t.Helper()
	readFiles(t, filepath.Join(a.DataDir, "logs"), func(line *fileLine) {
		l.ObserveStream(line.ContainerID, line.stream(), line.bytes())
	})
}

// startLoki starts a counting Loki that enters what it stores into a ledger.
func startLoki(t *testing.T, l *ledger.Ledger, opts lokitest.Options) *lokitest.Server {
	t.Helper()
	opts.OnEntry = func(_ string, _ int64, line []byte, meta []lokitest.Pair) {
		l.Observe(metadata(meta, "container_id"), line)
	}
	s, err := lokitest.Start(opts)
	enginetest.Must(t, err)
	t.Cleanup(func() {
		s.Close()
		if v := s.Violations(); len(v) > 0 {
			t.Errorf("pushes that break the protocol: %q", v)
		}
	})
	return s
}

func metadata(meta []lokitest.Pair, name string) string {
	for _, p := range meta {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// lokiSink is the list item of a Loki sink. Further keys follow.
func lokiSink(s *lokitest.Server, lines ...string) string {
	config := "  - type: loki\n    url: " + s.URL() + "\n    min_backoff: 20ms\n    max_backoff: 500ms\n"
	for _, l := range lines {
		config += "    " + l + "\n"
	}
	return config
}

const fileSink = "  - type: local_file\n"

// acknowledged returns how many records a sink has acknowledged in this start
// of the agent.
func acknowledged(t *testing.T, a *agent.Agent, sink string) uint64 {
	t.Helper()
	return uint64(a.Metric(t, "log_capturer_records_acknowledged_total", "sink", sink))
}

// waitEnded waits until the containers have written and ended.
func waitEnded(t *testing.T, containers []*enginetest.Container) {
	t.Helper()
	for _, c := range containers {
		_, err := c.Wait(5 * time.Minute)
		enginetest.Must(t, err)
	}
}

// waitDrained waits until the agent has read all containers to their ends, which
// are stopped, and every sink has everything.
func waitDrained(t *testing.T, a *agent.Agent) {
	t.Helper()
	state := ""
	defer func() {
		if t.Failed() {
			t.Logf("not drained: %s", state)
		}
	}()
	enginetest.Eventually(t, 4*time.Minute, "the agent has read and delivered everything", func() bool {
		samples, err := a.Scrape()
		if err != nil {
			return false
		}
		queued, _ := samples.Sum("log_capturer_queue_records")
		spooled, _ := samples.Sum("log_capturer_spool_records")
		queued += spooled
		stopped, _ := samples.Sum("log_capturer_containers", "state", "stopped")
		excluded, _ := samples.Sum("log_capturer_containers", "state", "excluded")
		all, _ := samples.Sum("log_capturer_containers")
		state = fmt.Sprintf("%v queued, %v containers of which %v stopped and %v excluded", queued, all, stopped, excluded)
		return queued == 0 && all > 0 && stopped+excluded == all
	})
}

// waitRead waits until the agent has read a stopped container to its end.
func waitRead(t *testing.T, a *agent.Agent, c *enginetest.Container) {
	t.Helper()
	enginetest.Eventually(t, time.Minute, "the container is read to its end", func() bool {
		res, err := http.Get(a.API + "/api/v1/containers")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		var list []struct{ ID, State string }
		enginetest.Must(t, json.NewDecoder(res.Body).Decode(&list))
		return slices.ContainsFunc(list, func(l struct{ ID, State string }) bool {
			return l.ID == c.ID && l.State == "stopped"
		})
	})
}

// checkAccounts checks that every record that a sink accepted is accounted for.
func checkAccounts(t *testing.T, a *agent.Agent) {
	t.Helper()
	samples, err := a.Scrape()
	enginetest.Must(t, err)
	checkSamples(t, samples)
}

// checkSamples is checkAccounts of what was scraped.
func checkSamples(t *testing.T, samples scrape.Samples) {
	t.Helper()
	for _, s := range samples.Find("log_capturer_records_accepted_total") {
		sink := s.Labels["sink"]
		sum := func(name string) float64 { v, _ := samples.Sum(name, "sink", sink); return v }
		rest := sum("log_capturer_records_acknowledged_total") + sum("log_capturer_records_dead_lettered_total") +
			sum("log_capturer_queue_records") + sum("log_capturer_spool_records") + sum("log_capturer_records_dropped_total")
		if s.Value != rest {
			t.Errorf("sink %s: accepted %v records, accounts for %v", sink, s.Value, rest)
		}
	}
}

// checkHealthy fails the test when the agent does not say that it is healthy.
func checkHealthy(t *testing.T, a *agent.Agent) {
	t.Helper()
	h, err := a.Health()
	enginetest.Must(t, err)
	if h.Status != "healthy" || h.Code != 200 {
		t.Errorf("health: %+v", h)
	}
}

// check fails the test when a ledger's report is not as wanted.
func check(t *testing.T, where string, l *ledger.Ledger) {
	t.Helper()
	if r := l.Check(); !r.OK() {
		t.Errorf("%s: %v", where, r)
	} else {
		t.Logf("%s: %v", where, r)
	}
}
