package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"log_capturer/internal/record"
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
