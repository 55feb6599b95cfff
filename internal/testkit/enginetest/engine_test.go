package enginetest

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
	"go.uber.org/goleak"

	"log_capturer/internal/record"
	"log_capturer/internal/testkit/numbered"
	"log_capturer/internal/testkit/script"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logs returns what the engine has of the container's two streams.
func logs(t *testing.T, c *Container) (stdout, stderr string) {
	t.Helper()
	r, err := c.engine.Client.ContainerLogs(t.Context(), c.ID, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true})
	Must(t, err)
	defer r.Close()
	var out, errs bytes.Buffer
	_, err = stdcopy.StdCopy(&out, &errs, r)
	Must(t, err)
	return out.String(), errs.String()
}

func waitFor(t *testing.T, c *Container, want int64) {
	t.Helper()
	status, err := c.Wait(time.Minute)
	Must(t, err)
	if status != want {
		t.Fatalf("exit status %d, want %d", status, want)
	}
}

func TestWriterWritesNumberedLines(t *testing.T) {
	e := New(t)
	c := e.Run(t, Options{Count: true, Args: []string{"-lines", "1000", "-streams", "both", "-run-id", "x", "-size", "50,200,20000", "-exit", "3"}})
	waitFor(t, c, 3)
	stdout, stderr := logs(t, c)
	for s, text := range []string{stdout, stderr} {
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		if len(lines) != 1000 {
			t.Fatalf("%v: %d lines", record.Stream(s), len(lines))
		}
		for i, line := range lines {
			l, err := numbered.Parse([]byte(line))
			if err != nil || l.N != uint64(i+1) || string(l.Run) != "x.1" || l.Stream != record.Stream(s) {
				t.Fatalf("%v line %d: %+v, %v", record.Stream(s), i+1, l, err)
			}
		}
	}
	counts, err := c.Written()
	Must(t, err)
	if len(counts) != 1 || counts[0].Lines != [2]uint64{1000, 1000} {
		t.Errorf("count file says %v", counts)
	}
}

func TestWriterPlaysScripts(t *testing.T) {
	e := New(t)
	steps := script.Script{
		script.Out("\n"), script.Out("x\n"),
		script.Fill(record.Stdout, "y", 16384), script.Out("\n"),
		script.Wait, script.Fill(record.Stderr, "z", 3_000_000), script.Wait, script.Out("no newline"),
	}
	c := e.Run(t, Options{Script: steps})
	Must(t, c.Proceed())
	Must(t, c.Proceed())
	waitFor(t, c, 0)
	stdout, stderr := logs(t, c)
	if stdout != string(steps.Bytes(record.Stdout)) {
		t.Errorf("stdout holds %d bytes, want %d", len(stdout), len(steps.Bytes(record.Stdout)))
	}
	if stderr != string(steps.Bytes(record.Stderr)) {
		t.Errorf("stderr holds %d bytes, want %d", len(stderr), len(steps.Bytes(record.Stderr)))
	}
}

func TestContainerLife(t *testing.T) {
	e := New(t)
	c := e.Run(t, Options{Count: true, TTY: true, Memory: 64 << 20, Labels: map[string]string{"a": "b"},
		Args: []string{"-rate", "200", "-run-id", "life"}})
	growth := func(start int) func() bool {
		var first uint64
		return func() bool {
			counts, err := c.Written()
			Must(t, err)
			if len(counts) < start {
				return false
			}
			n := counts[start-1].Lines[record.Stdout]
			if first == 0 {
				first = n
			}
			return n > first
		}
	}
	Eventually(t, time.Minute, "first start writes", growth(1))
	Must(t, c.Pause())
	Must(t, c.Unpause())
	Must(t, c.Restart(10*time.Second))
	Eventually(t, time.Minute, "second start writes", growth(2))
	Must(t, c.Stop(10*time.Second))
	waitFor(t, c, 0)
	Must(t, c.Start())
	Eventually(t, time.Minute, "third start writes", growth(3))
	Must(t, c.Kill("KILL"))
	waitFor(t, c, 137)

	text, err := e.Client.ContainerLogs(t.Context(), c.ID, client.ContainerLogsOptions{ShowStdout: true})
	Must(t, err)
	defer text.Close()
	b, err := io.ReadAll(text)
	Must(t, err)
	ends := map[string]uint64{}
	for line := range strings.SplitSeq(string(b), "\r\n") {
		if l, err := numbered.Parse([]byte(line)); err == nil && l.End {
			ends[string(l.Run)] = l.N
		}
	}
	counts, err := c.Written()
	Must(t, err)
	if len(counts) != 3 || len(ends) != 2 || ends["life.1"] != counts[0].Lines[0] || ends["life.2"] != counts[1].Lines[0] {
		t.Errorf("end lines %v, count file %v", ends, counts)
	}
}

func TestCleanUpRemovesWhatTheTestMade(t *testing.T) {
	e := New(t)
	var ids []string
	t.Run("test", func(t *testing.T) {
		ids = append(ids, e.Create(t, Options{}).ID)
		ids = append(ids, e.Run(t, Options{AutoRemove: true, Args: []string{"-lines", "1"}}).ID)
		ids = append(ids, e.Run(t, Options{}).ID)
	})
	list, err := e.Client.ContainerList(context.Background(), client.ContainerListOptions{All: true})
	Must(t, err)
	for _, item := range list.Items {
		for _, id := range ids {
			if item.ID == id {
				t.Errorf("container %.12s is still there", id)
			}
		}
	}
}
