package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"log_capturer/internal/testkit/fakeengine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAgentRunsAndIsAsked(t *testing.T) {
	engine := fakeengine.New(t, fakeengine.Options{})
	a := Start(t, Options{Config: "container_monitor: {docker_host: '" + engine.Host() + "'}\n"})
	a.WaitReady(30 * time.Second)
	status, err := a.Status()
	if err != nil || status.PID != a.PID() || len(status.Sinks) != 1 || status.Sinks[0].Type != "local_file" {
		t.Fatalf("status %+v, %v", status, err)
	}
	if want, _ := filepath.Abs(a.DataDir); status.DataDir != want {
		t.Errorf("data_dir %q, want %q", status.DataDir, want)
	}
	health, err := a.Health()
	if err != nil || health.Status == "" || len(health.Components) == 0 {
		t.Errorf("health %+v, %v", health, err)
	}
	if n := a.Goroutines(t); n < 3 || n > 1000 {
		t.Errorf("%d goroutines", n)
	}
	if n := a.FDs(t); n < 5 || n > 1000 {
		t.Errorf("%d file descriptors", n)
	}

	a.Kill()
	if a.Running() {
		t.Error("runs after it was killed")
	}
	if exit, err := a.Wait(time.Second); err != nil || exit.Code != -1 {
		t.Errorf("killed: %+v, %v", exit, err)
	}
	a.Restart()
	if again, err := a.Status(); err != nil || again.PID == status.PID || a.Starts() != 2 {
		t.Errorf("after the restart: %+v, %v", again, err)
	}
	if exit := a.Terminate(30 * time.Second); exit.Code != 0 {
		t.Errorf("terminated: %+v", exit)
	}
	if a.Log() == "" {
		t.Error("no log")
	}
}

func TestABadConfigurationEndsTheAgent(t *testing.T) {
	a := New(t, Options{Config: "nope: 1\n"})
	a.launch()
	exit, err := a.Wait(30 * time.Second)
	if err != nil || exit.Code != 3 || !strings.Contains(a.Log(), "nope") {
		t.Errorf("%+v, %v, log %s", exit, err, a.Log())
	}
	if _, err := os.Stat(a.DataDir); err == nil {
		t.Error("it made its data directory all the same")
	}
}
