package spool

import (
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"log_capturer/internal/record"
	"log_capturer/internal/record/recordtest"
	"log_capturer/internal/vfs"
	"log_capturer/internal/vfs/vfstest"
)

// After a bad fsync the entries are gone, whatever the disk kept of them, and
// what was durable before is there.
func TestFailedSync(t *testing.T) {
	for _, op := range []vfstest.Op{vfstest.Sync, vfstest.SyncDir} {
		disk := vfstest.NewDisk()
		s := open(t, disk, Options{})
		all := batches(recordtest.NewLog("container/a").Fill(30), 10)
		if op == vfstest.Sync {
			put(t, s, all[0])
		}
		disk.Inject(vfstest.Fault{Op: vfstest.Truncate, Err: syscall.EIO})
		match := map[vfstest.Op]string{vfstest.Sync: "*.open", vfstest.SyncDir: "sink"}[op]
		disk.Inject(vfstest.Fault{Op: op, Match: match, Err: syscall.EIO, Times: 1})
		e, err := s.Append(all[1], [record.NumStreams]int{}, 10)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Sync(); !errors.Is(err, syscall.EIO) || !s.Void(e) {
			t.Fatalf("%s: Sync = %v, void %v", op, err, s.Void(e))
		}
		disk.Heal()
		put(t, s, all[2])
		want := allLines(all[2:])
		if op == vfstest.Sync {
			want = append(allLines(all[:1]), want...)
		}
		disk.Kill()
		s = open(t, disk, Options{Committed: uint64(len(want))})
		lines, lost := take(t, s)
		wantLines(t, lines, want)
		if lost != 0 {
			t.Errorf("%s: %d lost", op, lost)
		}
	}
}

// Of what a sync that fails has taken, there is nothing that comes after it: neither
// in one step, nor behind an entry that is named.
func TestNothingComesBehindWhatAFailedSyncHasTaken(t *testing.T) {
	disk := vfstest.NewDisk()
	s := open(t, disk, Options{})
	defer s.Close()
	var items []Item
	for _, b := range batches(recordtest.NewLog("container/a").Fill(5), 1) {
		items = append(items, Item{Batch: b, Records: 1})
	}
	first, err := s.AppendAll(nil, items[:1])
	if err != nil {
		t.Fatal(err)
	}
	disk.Inject(vfstest.Fault{Op: vfstest.Sync, Match: "*.open", Times: 1, Err: syscall.EIO})
	if err := s.Sync(); !errors.Is(err, syscall.EIO) || !s.Void(first[0]) {
		t.Fatalf("Sync = %v, void %v", err, s.Void(first[0]))
	}
	if more, err := s.AppendAll(first[0], items[1:]); !errors.Is(err, ErrVoid) || len(more) > 0 || s.End() != 0 {
		t.Fatalf("behind a void entry: %d entries, %v, the end is %d", len(more), err, s.End())
	}

	disk.Inject(vfstest.Fault{Op: vfstest.Sync, Match: "*.open", Err: syscall.EIO})
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = s.Sync() // it fails
			}
		}
	}()
	taken, end := 0, time.Now().Add(time.Minute)
	for n := 0; n < 500 || taken == 0 && time.Now().Before(end); n++ {
		entries, err := s.AppendAll(nil, items)
		if err != nil {
			t.Fatal(err)
		}
		for i := 1; i < len(entries); i++ {
			// The later one is asked first: it may become void meanwhile.
			if later, before := s.Void(entries[i]), s.Void(entries[i-1]); before && !later && !s.Void(entries[i]) {
				t.Fatalf("entry %d is void, and the next one is not", i-1)
			} else if before {
				taken++
			}
		}
	}
	close(stop)
	<-stopped
	if taken == 0 {
		t.Error("no sync took anything")
	}
}

// A segment whose first entry could not be written, and that could not be removed,
// is not removed when a later one has its name.
func TestNameOfASegmentThatStays(t *testing.T) {
	disk := vfstest.NewDisk()
	s := open(t, disk, Options{})
	all := batches(recordtest.NewLog("container/a").Fill(2), 1)
	disk.Inject(vfstest.Fault{Op: vfstest.Write, Match: "*.open", After: 1, Times: 1, Err: syscall.EIO})
	disk.Inject(vfstest.Fault{Op: vfstest.Remove, Match: "*.open", Times: 1, Err: syscall.EIO})
	if _, err := s.Append(all[0], [record.NumStreams]int{}, 1); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Append = %v", err)
	}
	if _, err := s.Reclaim(noSync); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Reclaim = %v", err)
	}
	e, err := s.Append(all[0], [record.NumStreams]int{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	s.Publish(e, false)
	if empty, err := s.Reclaim(noSync); err != nil || empty {
		t.Errorf("Reclaim = %v, %v", empty, err)
	}
	if stats := s.Stats(); stats.Segments != 1 || stats.Bytes > disk.Used() {
		t.Errorf("%+v, with %d bytes on the disk", stats, disk.Used())
	}
	disk.Kill()
	s = open(t, disk, Options{Committed: e.End()})
	defer s.Close()
	if n := s.Unread(); n != 1 {
		t.Errorf("%d records are left of 1", n)
	}
}

// A segment that recovery writes anew is there whole, under its old name or the new
// one, wherever recovery ends and whatever a loss of power takes back then.
func TestRewrittenSegmentAndLossOfPower(t *testing.T) {
	for seed := range uint64(200) {
		disk := vfstest.NewDisk()
		if err := vfs.MakeDir(disk, "/data", 0o700); err != nil {
			t.Fatal(err)
		}
		s := open(t, disk, Options{MaxBytes: 1 << 20})
		all := batches(recordtest.NewLog("container/a").Fill(20), 10)
		put(t, s, all...)
		disk.Kill()
		// Of the second entry the caller has not heard.
		options := Options{FS: disk, MaxBytes: 1 << 20, Committed: 10}
		rng := rand.New(rand.NewPCG(seed, 0))
		for _, op := range []vfstest.Op{vfstest.SyncDir, vfstest.Remove} {
			disk.Inject(vfstest.Fault{Op: op, Match: "*", After: rng.IntN(3), Times: 1, Err: syscall.EIO})
			if s, err := Open(dir, options); err == nil {
				s.Close()
			}
			disk.Heal()
			disk.Kill()
		}
		disk.PowerLoss(rng)
		s = open(t, disk, options)
		lines, lost := take(t, s)
		if want := allLines(all[:1]); lost > 0 || len(lines) < len(want) || !slices.Equal(lines[:len(want)], want) {
			t.Fatalf("seed %d: %d lines are left, %d are lost: %.200q", seed, len(lines), lost, lines)
		}
		s.Close()
	}
}

// A place that the disk does not give is asked for again, and given up in the
// end, with the rest read.
func TestReadErrors(t *testing.T) {
	disk := vfstest.NewDisk()
	s := open(t, disk, Options{})
	all := batches(recordtest.NewLog("container/a").Fill(30), 10)
	put(t, s, all...)
	disk.Inject(vfstest.Fault{Op: vfstest.Read, Err: syscall.EIO, Times: maxReadFailures - 1})
	for range maxReadFailures - 1 {
		if _, _, _, err := s.Next(); !errors.Is(err, syscall.EIO) {
			t.Fatalf("Next = %v", err)
		}
	}
	e, b, _, err := s.Next()
	if err != nil || e == nil {
		t.Fatalf("Next = %v", err)
	}
	wantLines(t, allLines([]*record.Batch{b}), allLines(all[:1]))
	s.Done(e)
	disk.Inject(vfstest.Fault{Op: vfstest.Read, Err: syscall.EIO, Times: maxReadFailures})
	var lost uint64
	for lost == 0 {
		_, _, _, err := s.Next()
		if damage, ok := err.(*Damage); ok {
			lost = damage.Lost
		} else if !errors.Is(err, syscall.EIO) {
			t.Fatalf("Next = %v", err)
		}
	}
	disk.Heal()
	rest, more := take(t, s)
	wantLines(t, rest, allLines(all[2:]))
	if lost != 10 || more != 0 {
		t.Errorf("%d and %d lost, want 10 and 0", lost, more)
	}
}

// On a full disk the spool gives up its reserve, so that others can write, and
// takes nothing until there is room for the reserve again.
func TestReserve(t *testing.T) {
	disk := vfstest.NewDisk()
	const size = 1 << 20
	s := open(t, disk, Options{MaxBytes: size})
	all := batches(recordtest.NewLog("container/a").Fill(30000), 1000)
	put(t, s, all[0])
	disk.SetCapacity(disk.Used() + 10)
	if _, err := s.Append(all[1], [record.NumStreams]int{}, 1000); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("Append = %v", err)
	}
	for range 3 {
		// The journal's bytes.
		f, err := disk.OpenFile("/data/journal", os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := f.Write(make([]byte, size/64)); n != size/64 || err != nil {
			t.Errorf("others can't write on a full disk: %d, %v", n, err)
		}
		f.Close()
		if _, err := s.Append(all[1], [record.NumStreams]int{}, 1000); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("Append without a reserve = %v", err)
		}
	}
	disk.SetCapacity(1 << 30)
	s.reserveFailed = time.Time{}
	put(t, s, all[1])
	disk.Kill()
	s = open(t, disk, Options{MaxBytes: size, Committed: 2000})
	lines, _ := take(t, s)
	wantLines(t, lines, allLines(all[:2]))
	if empty, err := s.Reclaim(noSync); !empty || err != nil {
		t.Errorf("Reclaim = %v, %v", empty, err)
	}
	if left := files(disk); left != "[]" {
		t.Errorf("%s is left", left)
	}
}
