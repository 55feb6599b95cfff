package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// TestMain makes the test's program the writer when it is told to be.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_AS_WRITER") == "1" {
		main()
	}
	goleak.VerifyTestMain(m)
}

// writer returns the writer as a command.
func writer(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "TEST_AS_WRITER=1")
	return cmd
}

func TestExitStatus(t *testing.T) {
	f := func(want int, args ...string) {
		t.Helper()
		cmd := writer(args...)
		cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("%v: exit status %d, want %d", args, got, want)
		}
	}
	f(0, "-lines", "1")
	f(7, "-lines", "1", "-exit", "7")
	f(2, "-streams", "in")
	f(2, "-size", "x")
	f(2, "-payload", "x")
	f(2, "-script", "{")
	f(2, "-lines", "1", "-count-file", "/none/such")
	f(2, "more")
	f(0, "-duration", "20ms", "-rate", "100", "-exit", "7")
}

func TestEndsWithItsCountWhenToldToStop(t *testing.T) {
	for _, args := range [][]string{{"-rate", "1000"}, {"-lines", "3", "-hold"}} {
		cmd := writer(append(args, "-run-id", "r")...)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var all bytes.Buffer
		buf := make([]byte, 1<<10)
		for bytes.Count(all.Bytes(), []byte("\n")) < 3 {
			n, err := out.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(buf[:n])
		}
		cmd.Process.Signal(syscall.SIGTERM)
		all.ReadFrom(out)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v", args, err)
		}
		lines := strings.Split(strings.TrimSuffix(all.String(), "\n"), "\n")
		last := lines[len(lines)-1]
		n := len(lines) - 1
		if want := "r out end "; !strings.HasPrefix(last, want) || strings.Fields(lines[n-1])[2] != last[len(want):] {
			t.Errorf("%v: %q before %q", args, lines[n-1], last)
		}
	}
}
