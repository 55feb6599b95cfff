package cli

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"log_capturer/internal/record"
	"log_capturer/internal/sinks/loki/lokitest"
)

// positions carries out the command on the files of a scene's agent.
func (s *scene) positions(t *testing.T, want string, args ...string) string {
	t.Helper()
	got := runMain(context.Background(), nil, append([]string{"positions", args[0], "--data-dir", s.agent.DataDir}, args[1:]...)...)
	if got.code != ExitOK || !strings.Contains(got.stdout, want) {
		t.Fatalf("%q: %+v, want %q", args, got, want)
	}
	return got.stdout
}

// linesOf waits until a container's file, with one line of text for each record,
// has n lines, and returns them.
func (s *scene) linesOf(t *testing.T, container string, n int) []string {
	t.Helper()
	path := filepath.Join(s.agent.DataDir, "logs", container+".log")
	for deadline := time.Now().Add(time.Minute); ; <-time.After(10 * time.Millisecond) {
		text, err := os.ReadFile(path)
		lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		if err == nil && len(text) > 0 && len(lines) >= n {
			return lines
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d lines in %s, want %d: %v", len(lines), path, n, err)
		}
	}
}

// A source that was reset is read anew when the agent starts, and no other is;
// an export brings back what was.
func TestPositionsOfAStoppedAgent(t *testing.T) {
	s := newScene(t, "sinks: [{type: local_file, format: text}]\n")
	numbered := func(n int) (lines []string) {
		for i := range n {
			lines = append(lines, fmt.Sprintf("line %d", i))
		}
		return lines
	}
	s.say("web", record.Stdout, "line", 50)
	s.linesOf(t, "web", 50)
	s.linesOf(t, "old", 2)
	stop := func() {
		if exit := s.agent.Terminate(time.Minute); exit.Code != 0 {
			t.Fatalf("the agent ends with %d", exit.Code)
		}
	}
	stop()
	before := s.positions(t, `"source": "container/`, "export")
	export := filepath.Join(t.TempDir(), "export.json")
	if err := os.WriteFile(export, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	s.positions(t, "container/aaaaaaaaaaaa  local_file  50 ", "show")

	// Of the stopped container all comes again, of the other what is new.
	s.positions(t, "is read as a new source when the agent starts", "reset", "bbbb")
	s.agent.Start()
	s.say("web", record.Stderr, "more", 1)
	if got, want := s.linesOf(t, "old", 4), []string{"one", "two", "one", "two"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := s.linesOf(t, "web", 51), append(numbered(50), "more 0"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	stop()

	// From a time on.
	s.positions(t, "from 2026-03-04T05:06:07Z when the agent starts", "reset", "--to", "2026-03-04T05:06:07Z", "container/"+strings.Repeat("b", 64))
	s.positions(t, "none: from 2026-03-04T05:06:07Z", "show")
	s.agent.Start()
	if got, want := s.linesOf(t, "old", 5), []string{"one", "two", "one", "two", "two"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	stop()

	// An import is what was exported, and only what came since comes again.
	s.positions(t, " positions are set", "import", "--replace", export)
	if after := s.positions(t, "", "export"); after != before {
		t.Errorf("imported\n%s\nwant\n%s", after, before)
	}
	s.agent.Start()
	if got, want := s.linesOf(t, "web", 52), append(numbered(50), "more 0", "more 0"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := s.linesOf(t, "old", 5); len(got) != 5 {
		t.Errorf("got %q", got)
	}
}

// A source of which a sink's spool has records is not reset before they are
// delivered: then all of it comes again, and nothing in between is lost.
func TestResetOfASpooledSource(t *testing.T) {
	var down atomic.Bool
	var arrived sync.Map // how often a line did
	destination, err := lokitest.Start(lokitest.Options{
		Fault: func(int, *http.Request) (lokitest.Fault, bool) { return lokitest.Fault{Status: 503}, down.Load() },
		OnEntry: func(_ string, _ int64, line []byte, _ []lokitest.Pair) {
			n, _ := arrived.LoadOrStore(string(line), new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(destination.Close)
	down.Store(true)
	s := newScene(t, "sinks: [{type: loki, url: '"+destination.URL()+"', max_backoff: 600ms, spool: {max_bytes: 64MiB}}]\n")
	waitFor := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !ok(); <-time.After(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("never: %s", what)
			}
		}
	}
	times := func(n int64) func() bool {
		return func() bool {
			for i := range 7 {
				if have, ok := arrived.Load(fmt.Sprintf("line %d", i)); !ok || have.(*atomic.Int64).Load() != n {
					return false
				}
			}
			return s.agent.Metric(t, "log_capturer_spool_bytes") == 0
		}
	}
	stop := func() {
		t.Helper()
		if exit := s.agent.Terminate(time.Minute); exit.Code != 0 {
			t.Fatalf("the agent ends with %d", exit.Code)
		}
	}
	s.say("web", record.Stdout, "line", 7)
	waitFor("the lines are accepted", func() bool { return s.agent.Metric(t, "log_capturer_records_accepted_total") >= 7 })
	stop()
	got := runMain(context.Background(), nil, "positions", "reset", "--data-dir", s.agent.DataDir, "--to", "beginning", "aaaa")
	if got.code != ExitFailure || !strings.Contains(got.stderr, "has 7 records of container/"+strings.Repeat("a", 64)+": let the agent run until the spool is empty") {
		t.Errorf("%+v", got)
	}
	down.Store(false)
	s.agent.Start()
	waitFor("what was spooled is delivered", times(1))
	stop()
	s.positions(t, "is read from the beginning when the agent starts", "reset", "--to", "beginning", "aaaa")
	s.agent.Start()
	waitFor("the source is read anew", times(2))
}
