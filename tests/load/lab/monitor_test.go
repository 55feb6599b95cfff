package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/zstd"

	"log_capturer/internal/record"
	"log_capturer/internal/testkit/numbered"
)

// fakeAgent answers as an agent does.
type fakeAgent struct {
	*httptest.Server
	sinkType  string
	dataDir   string
	health    atomic.Value
	leak      atomic.Bool
	questions atomic.Int64
	captured  atomic.Int64
}

func newFakeAgent(t *testing.T, sinkType string) *fakeAgent {
	a := &fakeAgent{sinkType: sinkType, dataDir: t.TempDir()}
	a.health.Store("healthy")
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v1/status", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{
			"pid": os.Getpid(), "version": "fake", "data_dir": a.dataDir,
			"sinks": []map[string]string{{"name": "x", "type": a.sinkType}},
		})
	})
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) {
		status := a.health.Load().(string)
		if status != "healthy" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintf(w, `{"status":%q,"components":[{"name":"c","status":%q,"reason":"because"}]}`, status, status)
	})
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		n := a.questions.Add(1)
		goroutines := int64(30)
		if a.leak.Load() {
			goroutines += 50 * n
		}
		fmt.Fprintf(w, `log_capturer_goroutines %d
log_capturer_active_streams 2
log_capturer_stream_pool_capacity 50
log_capturer_stream_rotations_total %d
log_capturer_containers{state="reading"} 2
log_capturer_containers{state="excluded"} 9
log_capturer_records_acknowledged_total{sink="x"} %d
log_capturer_records_acknowledged_total{sink="y"} 1000000
`, goroutines, n, a.captured.Load())
	})
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Close)
	return a
}

// lines returns a run's lines from..to as JSON or text lines of a file.
func lines(run string, from, to int, asJSON bool) []byte {
	var b []byte
	for n := from; n <= to; n++ {
		line := numbered.Append(nil, numbered.RunOf(run, 1), record.Stdout, uint64(n), 80, numbered.ASCII)
		if asJSON {
			b = fmt.Appendf(b, `{"labels":{"run":%q},"line":%q,"stream":"stdout"}`+"\n", run, line)
		} else {
			b = append(append(b, line...), '\n')
		}
	}
	return b
}

// setUp writes the count files of two containers with 100 lines each, and what
// an agent made of these lines.
func setUp(t *testing.T, dataDir string) (countsDir string) {
	countsDir = t.TempDir()
	for _, run := range []string{"lt-a-01", "lt-a-02"} {
		path := filepath.Join(countsDir, run+countsSuffix)
		check(t, numbered.CreateCounts(path))
		c, err := numbered.OpenCounts(path)
		check(t, err)
		c.Set(record.Stdout, 100)
	}
	logs := filepath.Join(dataDir, "logs")
	check(t, os.MkdirAll(filepath.Join(logs, "deeper"), 0o755))
	write := func(name string, data []byte) { check(t, os.WriteFile(filepath.Join(logs, name), data, 0o644)) }

	var packed bytes.Buffer
	z, err := zstd.NewWriter(&packed)
	check(t, err)
	z.Write(lines("lt-a-01", 1, 40, true))
	check(t, z.Close())
	write("one-20260102T030405Z-0001.log.zst", packed.Bytes())
	packed.Reset()
	g := gzip.NewWriter(&packed)
	g.Write(lines("lt-a-01", 41, 60, true))
	check(t, g.Close())
	write("one-20260102T030406Z-0001.log.gz", packed.Bytes())
	write("one.log", append(lines("lt-a-01", 61, 100, true), `{"line":"lt-a-01.1 out 101 torn`...))
	write("deeper/two.log", lines("lt-a-02", 1, 100, false))
	write("other.log", append([]byte("hello\n"), lines("lt-older-01", 1, 3, true)...))
	write("dead-letters.jsonl", lines("lt-a-02", 1, 3, true))
	return countsDir
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func watchFake(t *testing.T, a *fakeAgent, countsDir string) (code int, output string) {
	t.Helper()
	var out bytes.Buffer
	code = run(t.Context(), []string{"monitor", "--duration", "300ms", "--interval", "20ms", "--settle", "300ms",
		"--api", a.URL, "--metrics", a.URL + "/metrics", "--counts-dir", countsDir}, &out, &out)
	return code, out.String()
}

func TestMonitorPassesAHealthyAgent(t *testing.T) {
	a := newFakeAgent(t, "local_file")
	code, out := watchFake(t, a, setUp(t, a.dataDir))
	if code != 0 || !strings.HasSuffix(out, "\nPASS\n") || !strings.Contains(out, "200 written, 200 captured") || !strings.Contains(out, "fewer containers than leases") {
		t.Errorf("exit status %d:\n%s", code, out)
	}
	if strings.Count(out, "healthy  ") < 5 {
		t.Errorf("few lines of progress:\n%s", out)
	}
}

func TestMonitorFailsForEachFault(t *testing.T) {
	f := func(name, row, detail string, break_ func(a *fakeAgent, countsDir string)) {
		t.Helper()
		a := newFakeAgent(t, "local_file")
		countsDir := setUp(t, a.dataDir)
		break_(a, countsDir)
		code, out := watchFake(t, a, countsDir)
		found := ""
		for line := range strings.Lines(out) {
			if strings.Contains(line, " FAIL ") {
				found += line
			}
		}
		if code != 1 || strings.Count(found, "\n") != 1 || !strings.HasPrefix(found, row) || !strings.Contains(out, detail) {
			t.Errorf("%s: exit status %d:\n%s", name, code, out)
		}
	}
	replace := func(data []byte) func(a *fakeAgent, _ string) {
		return func(a *fakeAgent, _ string) {
			check(t, os.WriteFile(filepath.Join(a.dataDir, "logs/deeper/two.log"), data, 0o644))
		}
	}
	f("leak", "goroutine growth", "/min", func(a *fakeAgent, _ string) { a.leak.Store(true) })
	f("health", "health", "c: because", func(a *fakeAgent, _ string) { a.health.Store("unhealthy") })
	f("a line is missing", "lines", "200 written, 199 captured", replace(append(lines("lt-a-02", 1, 49, false), lines("lt-a-02", 51, 100, false)...)))
	f("the last line is missing", "lines", "1 missing: 100", replace(lines("lt-a-02", 1, 99, false)))
	f("a line is repeated", "lines", "1 repeated: 100", replace(append(lines("lt-a-02", 1, 100, false), lines("lt-a-02", 100, 100, false)...)))
	f("a line is cut", "lines", "1 corrupt", replace(append(lines("lt-a-02", 1, 99, false), append(lines("lt-a-02", 100, 100, false)[:70], '\n')...)))
	f("nothing was written", "lines", "no container of the load test", func(_ *fakeAgent, countsDir string) {
		files, err := countFiles(countsDir)
		check(t, err)
		for _, path := range files {
			check(t, os.Remove(path))
		}
	})
	f("count file is damaged", "lines", "read count file", func(_ *fakeAgent, countsDir string) {
		check(t, os.WriteFile(filepath.Join(countsDir, "lt-a-09"+countsSuffix), []byte("x"), 0o644))
	})
}

func TestMonitorWithoutFilesGoesByMetrics(t *testing.T) {
	f := func(captured int64, want int) {
		t.Helper()
		a := newFakeAgent(t, "loki")
		countsDir := setUp(t, a.dataDir)
		counter, err := numbered.OpenCounts(filepath.Join(countsDir, "lt-a-01"+countsSuffix))
		check(t, err)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for a.questions.Load() < 3 {
				select {
				case <-t.Context().Done():
					return
				default:
				}
			}
			counter.Set(record.Stdout, 500)
			a.captured.Store(captured)
		}()
		code, out := watchFake(t, a, countsDir)
		<-done
		if code != want || !strings.Contains(out, "by the agent's metrics") {
			t.Errorf("%d captured: exit status %d:\n%s", captured, code, out)
		}
	}
	f(500, 0)
	f(400, 1)
	f(600, 1)
}

func TestUsage(t *testing.T) {
	f := func(want int, contains string, args ...string) {
		t.Helper()
		var out bytes.Buffer
		if got := run(t.Context(), args, &out, &out); got != want || !strings.Contains(out.String(), contains) {
			t.Errorf("%v: exit status %d:\n%s", args, got, out.String())
		}
	}
	f(2, "Usage")
	f(2, "Usage", "dance")
	f(0, "Usage", "--help")
	f(0, "-count", "spawn", "--help")
	f(0, "-duration", "monitor", "--help")
	f(2, "unknown argument", "monitor", "x")
	f(2, "not defined", "spawn", "--nope")
	f(1, "Is the agent running", "monitor", "--api", "http://127.0.0.1:1")
}
