package positions

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"log_capturer/internal/health"
	"log_capturer/internal/vfs/vfstest"
)

// running runs f beside j.Run, begins it between two ticks, and returns what Run
// returned.
func running(t *testing.T, j *Journal, f func()) error {
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() { result <- j.Run(ctx) }()
	time.Sleep(500 * time.Millisecond)
	f()
	cancel()
	return <-result
}

func TestRunSyncsWhatIsDirty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := open(t, vfstest.NewDisk(), "boot")
		var synced atomic.Int32
		j.OnSync(func() error { synced.Add(1); return nil })
		check(t, running(t, j, func() {
			time.Sleep(10 * time.Second)
			if n := synced.Load(); n != 0 {
				t.Errorf("%d syncs of a clean journal", n)
			}
			for range 5 {
				put(t, j, "key", "value")
				put(t, j, "key", "other")
				time.Sleep(time.Second)
			}
			if n := synced.Load(); n != 5 {
				t.Errorf("%d syncs in 5 seconds of commits", n)
			}
			time.Sleep(10 * time.Second)
			put(t, j, "key", "last")
		}))
		if n := synced.Load(); n != 6 {
			t.Errorf("%d syncs; the end of Run must sync what is dirty, and nothing else may", n)
		}
		check(t, j.Close())
	})
}

func TestRunCompacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.NewDisk()
		j, err := Open(dir, Options{FS: disk, BootID: "boot", CompactBytes: 10_000})
		check(t, err)
		check(t, running(t, j, func() {
			fill := func(n int) {
				for i := range n {
					put(t, j, "key", fmt.Sprintf("%0100d", i))
				}
				time.Sleep(2 * time.Second)
			}
			fill(50)
			if disk.Used() < 5_000 {
				t.Errorf("compacted at %d bytes", disk.Used())
			}
			fill(100)
			if disk.Used() > 1_000 {
				t.Errorf("not compacted at %d bytes", disk.Used())
			}
			// What is live is no reason to compact again and again.
			for i := range 200 {
				put(t, j, fmt.Sprint("live/", i), strings.Repeat("x", 100))
			}
			time.Sleep(2 * time.Second)
			before := j.generation
			time.Sleep(time.Minute)
			if j.generation != before {
				t.Error("compacted what is live")
			}
		}))
		wantContent(t, j, append(pairsOf(200), "key", fmt.Sprintf("%0100d", 99))...)
		check(t, j.Close())
	})
}

func pairsOf(n int) []string {
	var pairs []string
	for i := range n {
		pairs = append(pairs, fmt.Sprint("live/", i), strings.Repeat("x", 100))
	}
	return pairs
}

func TestRunOutlivesFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		disk := vfstest.NewDisk()
		j, err := Open(dir, Options{FS: disk, BootID: "boot", Logger: slog.New(slog.NewTextHandler(&log, nil))})
		check(t, err)
		wantHealth := func(want health.Status, reason string) {
			t.Helper()
			got := j.Health()[0]
			if got.Name != "positions" || got.Status != want || !strings.Contains(got.Reason, reason) || (want == health.Healthy) != (got.Reason == "") {
				t.Errorf("health = %+v, want %v with %q", got, want, reason)
			}
		}
		check(t, running(t, j, func() {
			put(t, j, "key", "1")
			wantHealth(health.Healthy, "")
			disk.Inject(vfstest.Fault{Op: vfstest.Sync, Err: syscall.EIO})
			time.Sleep(150 * time.Second)
			wantHealth(health.Unhealthy, "input/output error")
			disk.Heal()
			time.Sleep(2 * time.Second)
			wantHealth(health.Healthy, "")

			disk.SetCapacity(0)
			wantErr(t, j.Commit(changes("key", "2")...), syscall.ENOSPC)
			wantHealth(health.Unhealthy, "no space left")
			time.Sleep(10 * time.Second)
			disk.SetCapacity(1 << 20)
			put(t, j, "key", "3")
			wantHealth(health.Healthy, "")
		}))
		check(t, j.Close())
		wantHealth(health.Unhealthy, "closed")
		if n := strings.Count(log.String(), "level=ERROR"); n != 3 {
			t.Errorf("150 seconds of faults made %d log entries, want 3:\n%s", n, &log)
		}
		if !strings.Contains(log.String(), "unreported_failures=59") || !strings.Contains(log.String(), "positions_journal_recovered") {
			t.Errorf("log:\n%s", &log)
		}
	})
}

// TestFailedCompaction: it takes nothing away, is not tried every second, and
// shows in the health.
func TestFailedCompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.NewDisk()
		j, err := Open(dir, Options{FS: disk, BootID: "boot", CompactBytes: 1000})
		check(t, err)
		tried := 0
		check(t, running(t, j, func() {
			disk.Inject(vfstest.Fault{Op: vfstest.Rename, Err: syscall.EIO})
			for i := range 100 {
				put(t, j, "key", fmt.Sprintf("%050d", i))
			}
			j.OnSync(func() error { tried++; return nil })
			time.Sleep(90 * time.Second)
			if h := j.Health()[0]; h.Status != health.Degraded || !strings.Contains(h.Reason, "cannot be compacted") {
				t.Errorf("health = %+v", h)
			}
			disk.Heal()
			time.Sleep(60 * time.Second)
			if h := j.Health()[0]; h.Status != health.Healthy {
				t.Errorf("health = %+v", h)
			}
		}))
		if tried != 1+3 { // the sync, two failures, and the success
			t.Errorf("%d syncs and compactions, want 4", tried)
		}
		disk.Kill()
		wantContent(t, open(t, disk, "boot"), "key", fmt.Sprintf("%050d", 99))
		journalFile(t, disk)
	})
}

func TestMetrics(t *testing.T) {
	disk, data, commits := written(t)
	data[commits[1]+10] ^= 1
	disk.WriteFile(journalFile(t, disk), data)
	j := open(t, disk, "boot")
	put(t, j, "key", "value")
	put(t, j, "key", "other")
	check(t, j.Sync())
	put(t, j, "key", "last")
	disk.Inject(vfstest.Fault{Op: vfstest.Sync, Times: 1, Err: syscall.EIO})
	wantErr(t, j.Sync(), syscall.EIO)
	disk.Inject(vfstest.Fault{Op: vfstest.Write, Times: 1, Err: syscall.EIO})
	wantErr(t, j.Commit(changes("key", "none")...), syscall.EIO)
	file, _ := disk.ReadFile(journalFile(t, disk))

	want := fmt.Sprintf(`
# HELP log_capturer_positions_commit_failures_total Commits that could not be written to the positions journal.
# TYPE log_capturer_positions_commit_failures_total counter
log_capturer_positions_commit_failures_total 1
# HELP log_capturer_positions_commits_total Commits written to the positions journal.
# TYPE log_capturer_positions_commits_total counter
log_capturer_positions_commits_total 3
# HELP log_capturer_positions_journal_bytes Size of the positions journal.
# TYPE log_capturer_positions_journal_bytes gauge
log_capturer_positions_journal_bytes %d
# HELP log_capturer_positions_keys Keys in the positions journal.
# TYPE log_capturer_positions_keys gauge
log_capturer_positions_keys 4
# HELP log_capturer_positions_rewrites_total Times that the positions journal was written anew, by compaction or after a fault.
# TYPE log_capturer_positions_rewrites_total counter
log_capturer_positions_rewrites_total 1
# HELP log_capturer_positions_set_aside_files Damaged journal files that were set aside when the agent started.
# TYPE log_capturer_positions_set_aside_files gauge
log_capturer_positions_set_aside_files 1
# HELP log_capturer_positions_sync_failures_total Times that the positions journal could not be made durable.
# TYPE log_capturer_positions_sync_failures_total counter
log_capturer_positions_sync_failures_total 1
# HELP log_capturer_positions_syncs_total Times that the positions journal was made durable.
# TYPE log_capturer_positions_syncs_total counter
log_capturer_positions_syncs_total 1
`, len(file))
	check(t, testutil.CollectAndCompare(j, strings.NewReader(want)))
	problems, err := testutil.CollectAndLint(j)
	check(t, err)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	check(t, j.Close())
}
