package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"log_capturer/internal/sinks/loki/lokitest"
	"log_capturer/internal/testkit/agent"
	"log_capturer/internal/testkit/enginetest"
	"log_capturer/internal/testkit/ledger"
)

// confine puts a process into a memory cgroup, of version 1 or 2, that kills it
// when it takes more than limit bytes.
func confine(t *testing.T, pid int, limit int64) {
	t.Helper()
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatalf("make a memory cgroup (this needs root): %v", err)
		}
	}
	root, file := "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
	if _, err := os.Stat(filepath.Join(root, file)); err != nil {
		root, file = "/sys/fs/cgroup", "memory.max"
		// It may be on already, or the kernel may say so only in the group.
		_ = os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+memory"), 0o600)
	}
	dir := filepath.Join(root, fmt.Sprintf("log_capturer-e2e-%d", pid))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatalf("make a memory cgroup (this needs root): %v", err)
	}
	t.Cleanup(func() {
		// The kernel takes a moment to see that the process is gone.
		enginetest.Eventually(t, time.Minute, "the cgroup is empty", func() bool { return os.Remove(dir) == nil })
	})
	write(filepath.Join(dir, file), strconv.FormatInt(limit, 10))
	write(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid))
}

// peakMemory returns the most memory that a process has occupied, in bytes.
func peakMemory(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	enginetest.Must(t, err)
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			enginetest.Must(t, err)
			return kib << 10
		}
	}
	t.Fatal("the kernel does not say how much memory the process has taken")
	return 0
}

// One sink is down, one hangs, and one is well, while containers write several
// times what fits into memory, as fast as they can. The agent stays within its memory_limit, without the help of GOMEMLIMIT and with a cgroup
// that would kill it, and delivers everything when the outage is over.
func TestMemoryLimit(t *testing.T) {
	engine := enginetest.New(t)
	id := label(t)
	const containers, limit = 4, 128 << 20
	lines := fewer(6000)
	down, hung, files := ledger.New(), ledger.New(), ledger.New()
	dead := startOutage(t, down)
	dead.down.Store(true)
	over := make(chan struct{})
	hanging := startLoki(t, hung, lokitest.Options{Fault: func(int, *http.Request) (lokitest.Fault, bool) {
		select {
		case <-over:
			return lokitest.Fault{}, false
		default:
			return lokitest.Fault{Hang: true}, true
		}
	}})
	a := agent.Start(t, agent.Options{
		Env: []string{"GOMEMLIMIT=off"},
		Config: monitorConfig(id) + "memory_limit: 128MiB\nsinks:\n" + fileSink +
			strings.Replace(lokiSink(dead.Server, "name: down", "max_backoff: 200ms", "batch_bytes: 256KiB", "spool: {max_bytes: 1GiB}"), "    max_backoff: 500ms\n", "", 1) +
			lokiSink(hanging, "name: hung", "timeout: 2s", "batch_bytes: 256KiB", "spool: {max_bytes: 1GiB}"),
	})
	confine(t, a.PID(), limit)
	pid := a.PID()
	running := writers(t, engine, id, containers, lines, "100,2000")
	expectAll(running, lines, down, hung, files)
	waitEnded(t, running)
	all := uint64(2 * containers * lines)
	enginetest.Eventually(t, 3*time.Minute, "everything is in custody", func() bool {
		for _, sink := range []string{"local_file", "down", "hung"} {
			if uint64(a.Metric(t, "log_capturer_records_accepted_total", "sink", sink)) != all {
				return false
			}
		}
		return acknowledged(t, a, "local_file") == all
	})
	during := peakMemory(t, pid)
	checkAccounts(t, a)
	dead.down.Store(false)
	close(over)
	waitDrained(t, a)
	checkAccounts(t, a)
	after := peakMemory(t, pid)
	t.Logf("at most %d MiB during the outage, %d MiB while catching up", during>>20, after>>20)
	if after > limit {
		t.Errorf("took %d MiB, the limit is %d", after>>20, limit>>20)
	}
	mustExitWell(t, a.Terminate(time.Minute))
	countFiles(t, a, files)
	check(t, "files", files)
	for name, l := range map[string]*ledger.Ledger{"down": down, "hung": hung} {
		// What hangs may be stored and is sent again.
		if r := l.Check(); !r.OKButRepeated() {
			t.Errorf("%s: %v", name, r)
		}
	}
}
