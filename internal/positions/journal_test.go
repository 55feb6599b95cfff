package positions

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"log_capturer/internal/vfs"
	"log_capturer/internal/vfs/vfstest"
)

func TestCommitGetAll(t *testing.T) {
	j := open(t, vfstest.NewDisk(), "boot")
	put(t, j, "b/2", "two", "b/1", "one", "a", "", "c", "x")
	put(t, j, "c", "first", "c", "last")
	check(t, j.Commit(Change{Key: "b/2"}, Change{Key: "missing"}))
	check(t, j.Commit())
	wantContent(t, j, "a", "", "b/1", "one", "c", "last")

	if v, ok := j.Get("a"); !ok || v == nil || len(v) != 0 {
		t.Errorf("Get of an empty value = %v, %v; want an empty one that is not nil", v, ok)
	}
	if v, ok := j.Get("b/2"); ok {
		t.Errorf("Get of a removed key = %q", v)
	}

	put(t, j, "b/3", "three", "b/0", "zero")
	var got []string
	for key, value := range j.All("b/") {
		got = append(got, key+"="+string(value))
		put(t, j, "b/9", "late") // the loop may commit, and does not see it
	}
	if want := []string{"b/0=zero", "b/1=one", "b/3=three"}; !slices.Equal(got, want) {
		t.Errorf("All = %q, want %q", got, want)
	}
	for range j.All("") {
		break
	}
	check(t, j.Close())
}

func TestValuesAreCopied(t *testing.T) {
	j := open(t, vfstest.NewDisk(), "boot")
	given := []byte("1")
	check(t, j.Commit(Change{"key", given}))
	given[0] = 'x'
	got, _ := j.Get("key")
	put(t, j, "key", "2")
	if string(got) != "1" {
		t.Errorf("a value that was got has changed to %q", got)
	}
	got, _ = j.Get("key")
	got[0] = 'x'
	wantContent(t, j, "key", "2")
	given = []byte("3") // takes the place of a value of the same length
	check(t, j.Commit(Change{"key", given}))
	given[0] = 'x'
	wantContent(t, j, "key", "3")
	check(t, j.Close())
}

func TestClosed(t *testing.T) {
	disk := vfstest.NewDisk()
	j := open(t, disk, "boot")
	put(t, j, "key", "value")
	check(t, j.Close())
	check(t, j.Close())
	wantErr(t, j.Commit(changes("key", "other")...), ErrClosed)
	wantErr(t, j.Sync(), ErrClosed)
	if n := disk.OpenFiles(); n != 0 {
		t.Errorf("%d files left open", n)
	}
	wantContent(t, open(t, disk, "boot"), "key", "value")
}

func TestCommitTooLarge(t *testing.T) {
	j := open(t, vfstest.NewDisk(), "boot")
	err := j.Commit(Change{"key", make([]byte, maxPayload)})
	if err == nil || !strings.Contains(err.Error(), "more than 16777216") {
		t.Errorf("Commit = %v", err)
	}
	wantContent(t, j)
	check(t, j.Close())
}

// TestOneWrite: a Commit that took two writes could be cut in half by a kill.
func TestOneWrite(t *testing.T) {
	disk := vfstest.NewDisk()
	j := open(t, disk, "boot")
	put(t, j, "first", "also writes a mark")
	disk.Inject(vfstest.Fault{Op: vfstest.Write, After: 1, Err: syscall.EIO})
	put(t, j, changesOf(1000)...)
	wantErr(t, j.Commit(changes("key", "value")...), syscall.EIO)
}

func changesOf(n int) []string {
	var pairs []string
	for i := range n {
		pairs = append(pairs, fmt.Sprintf("key-%d", i), strings.Repeat("v", i))
	}
	return pairs
}

func TestFullDisk(t *testing.T) {
	disk := vfstest.NewDisk()
	j := open(t, disk, "boot")
	put(t, j, "key", "1")
	size := disk.Used()
	disk.SetCapacity(size + 10)
	wantErr(t, j.Commit(changes("key", "2")...), syscall.ENOSPC)
	wantContent(t, j, "key", "1")
	if used := disk.Used(); used != size {
		t.Errorf("the failed commit left %d bytes", used-size)
	}
	disk.SetCapacity(1 << 20)
	put(t, j, "key", "3")
	disk.Kill()
	j = open(t, disk, "boot")
	wantContent(t, j, "key", "3")
	if r := j.Recovery(); r.TornBytes != 0 || len(r.SetAside) != 0 {
		t.Errorf("recovery = %+v", r)
	}
}

// TestTornRecordThatStays: while a torn record cannot be cut off, nothing is
// written behind it, and the next Sync moves to another file.
func TestTornRecordThatStays(t *testing.T) {
	disk := vfstest.NewDisk()
	j := open(t, disk, "boot")
	put(t, j, "key", "1")
	disk.Inject(vfstest.Fault{Op: vfstest.Write, Times: 1, Err: syscall.EIO, Short: 5})
	disk.Inject(vfstest.Fault{Op: vfstest.Truncate, Err: syscall.EIO})
	wantErr(t, j.Commit(changes("key", "2")...), syscall.EIO)
	wantErr(t, j.Commit(changes("key", "3")...), syscall.EIO)
	check(t, j.Sync())
	put(t, j, "key", "4")
	disk.Kill()
	wantContent(t, open(t, disk, "boot"), "key", "4")
}

// TestFailedSyncIsNotTrusted: after a failed fsync the kernel takes the bytes for
// clean, so a second fsync saves nothing, in this process or the next one.
func TestFailedSyncIsNotTrusted(t *testing.T) {
	for name, reopen := range map[string]func(*vfstest.Disk, *Journal) *Journal{
		"same process": func(_ *vfstest.Disk, j *Journal) *Journal { return j },
		"next process": func(disk *vfstest.Disk, _ *Journal) *Journal {
			disk.Kill()
			return open(t, disk, "boot")
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(20) {
				disk := vfstest.NewDisk()
				j := open(t, disk, "boot")
				put(t, j, "key", "value")
				disk.Inject(vfstest.Fault{Op: vfstest.Sync, Times: 1, Err: syscall.EIO})
				wantErr(t, j.Sync(), syscall.EIO)
				j = reopen(disk, j)
				check(t, j.Sync())
				disk.PowerLoss(random(seed))
				wantContent(t, open(t, disk, "next boot"), "key", "value")
			}
		})
	}
}

func TestHooksRunBeforeTheFsync(t *testing.T) {
	disk := vfstest.NewDisk()
	j := open(t, disk, "boot")
	failure := errors.New("sink's file")
	var calls []string
	result := failure
	j.OnSync(func() error { calls = append(calls, "first"); return nil })
	j.OnSync(func() error { calls = append(calls, "second"); return result })

	check(t, j.Sync())
	if len(calls) > 0 {
		t.Errorf("hooks %q were called with nothing to sync", calls)
	}
	put(t, j, "key", "value")
	wantErr(t, j.Sync(), failure)
	disk.Inject(vfstest.Fault{Op: vfstest.Sync, Times: 1, Err: syscall.EIO})
	wantErr(t, j.Sync(), failure) // and not EIO: the fsync comes after the hooks
	result = nil
	wantErr(t, j.Sync(), syscall.EIO)
	check(t, j.Sync())
	check(t, j.Sync())
	if want := slices.Repeat([]string{"first", "second"}, 4); !slices.Equal(calls, want) {
		t.Errorf("hooks called: %q, want %q", calls, want)
	}
	calls = nil
	j.OnSync(func() error { calls = append(calls, "third"); return nil })()
	put(t, j, "key", "value")
	check(t, j.Sync())
	if want := []string{"first", "second"}; !slices.Equal(calls, want) {
		t.Errorf("hooks called after one was removed: %q, want %q", calls, want)
	}
	check(t, j.Close())
}

// TestUncoveredCommitDiesWithThePower: a commit that came after the hooks were
// called is dropped by a loss of power, even when fsync has saved it.
func TestUncoveredCommitDiesWithThePower(t *testing.T) {
	for boot, want := range map[string][]string{"next boot": {"key", "1"}, "boot": {"key", "2"}} {
		disk := vfstest.NewDisk()
		j := open(t, disk, "boot")
		put(t, j, "key", "1")
		j.OnSync(func() error { put(t, j, "key", "2"); return nil })
		check(t, j.Sync())
		disk.PowerLoss(random(1))
		j = open(t, disk, boot)
		wantContent(t, j, want...)
		if r := j.Recovery(); boot != "boot" && r.UncoveredRecords != 1 {
			t.Errorf("recovery = %+v, want 1 uncovered record", r)
		}
		check(t, j.Close())
	}
}

func TestOneAgentPerDirectory(t *testing.T) {
	dir := t.TempDir()
	first, err := Open(dir, Options{})
	check(t, err)
	_, err = Open(dir, Options{})
	wantErr(t, err, vfs.ErrLocked)
	if err != nil && !strings.Contains(err.Error(), "set another data_dir") {
		t.Errorf("error %q does not say what to do", err)
	}
	put(t, first, "key", "value")
	check(t, first.Close())
	second, err := Open(dir, Options{})
	check(t, err)
	wantContent(t, second, "key", "value")
	check(t, second.Close())
}

// TestCommitsDuringCompaction: what is committed while a snapshot is written is
// in the new file, and in the right order.
func TestCommitsDuringCompaction(t *testing.T) {
	disk := vfstest.NewDisk()
	j := open(t, disk, "boot")
	put(t, j, changesOf(200)...) // so that a snapshot takes a while
	var stop atomic.Bool
	var wg sync.WaitGroup
	var commits atomic.Int64
	for w := range 4 {
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				if err := j.Commit(changes(fmt.Sprint("worker/", w), fmt.Sprint(i), fmt.Sprintf("own/%d/%d", w, i), "x")...); err != nil {
					t.Error(err)
				}
				commits.Add(1)
			}
		})
	}
	for range 6 {
		for before := commits.Load(); commits.Load() < before+100; {
			runtime.Gosched()
		}
		check(t, j.Sync())
		check(t, j.compact())
	}
	stop.Store(true)
	wg.Wait()
	want := content(j)
	disk.Kill()
	if got := content(open(t, disk, "boot")); !maps.Equal(got, want) {
		t.Errorf("after a kill the journal holds %d keys, and not the %d that it held", len(got), len(want))
	}
	journalFile(t, disk) // one file alone is left
}

func TestSnapshotOfManyRecords(t *testing.T) {
	disk := vfstest.NewDisk()
	j := open(t, disk, "boot")
	put(t, j, changesOf(1000)...)
	check(t, j.compact())
	disk.PowerLoss(random(1))
	j = open(t, disk, "next boot")
	wantContent(t, j, changesOf(1000)...)
	if r := j.Recovery(); r.Records < 5 {
		t.Errorf("half a megabyte was read from %d records; want several", r.Records)
	}
}

func TestLogsSayWhatWasFound(t *testing.T) {
	disk := vfstest.NewDisk()
	j := open(t, disk, "boot")
	put(t, j, "a", "1")
	disk.Kill()
	name := journalFile(t, disk)
	data, _ := disk.ReadFile(name)
	disk.WriteFile(name, append(data, "torn"...))
	var log bytes.Buffer
	j, err := Open(dir, Options{FS: disk, BootID: "boot", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	check(t, err)
	check(t, j.Close())
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "bytes=4") {
		t.Errorf("log: %s", &log)
	}
}

func BenchmarkCommit(b *testing.B) {
	j, err := Open(b.TempDir(), Options{})
	check(b, err)
	value := make([]byte, 57) // as a cursor
	changes := make([]Change, 8)
	for i := range changes {
		changes[i] = Change{fmt.Sprintf("cursor/files/container/%064d", i), value}
	}
	check(b, j.Commit(changes...))
	b.ReportAllocs()
	b.SetBytes(j.end - headerSize)
	for b.Loop() {
		if err := j.Commit(changes...); err != nil {
			b.Fatal(err)
		}
	}
	check(b, j.Close())
}
