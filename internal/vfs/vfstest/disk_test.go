package vfstest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"log_capturer/internal/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestPowerLossOutcomes runs a program many times, cuts the power after it, and
// compares the set of outcomes with what may and what must be possible.
func TestPowerLossOutcomes(t *testing.T) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, d *Disk)
		want []string // every outcome that must occur; no other may
	}{
		{"unsynced bytes are lost or torn", func(t *testing.T, d *Disk) {
			f := create(t, d, "/a")
			write(t, f, "12")
			check(t, f.Sync())
			check(t, d.SyncDir("/"))
			write(t, f, "34")
		}, []string{"/a=12", "/a=123", "/a=1234", "/a=12\x00\x00"}},
		{"synced bytes stay", func(t *testing.T, d *Disk) {
			f := create(t, d, "/a")
			write(t, f, "12")
			check(t, f.Sync())
			check(t, d.SyncDir("/"))
		}, []string{"/a=12"}},
		{"a synced file without a synced name", func(t *testing.T, d *Disk) {
			f := create(t, d, "/a")
			write(t, f, "12")
			check(t, f.Sync())
		}, []string{"", "/a=12"}},
		{"renames happen whole and in order", func(t *testing.T, d *Disk) {
			check(t, create(t, d, "/a").Sync())
			check(t, create(t, d, "/b").Sync())
			check(t, d.SyncDir("/"))
			check(t, d.Rename("/a", "/c"))
			check(t, d.Remove("/b"))
		}, []string{"/a= /b=", "/b= /c=", "/c="}},
		{"a directory is lost with its files", func(t *testing.T, d *Disk) {
			check(t, d.MkdirAll("/x", 0o755))
			f := create(t, d, "/x/a")
			write(t, f, "1")
			check(t, f.Sync())
			check(t, d.SyncDir("/x"))
		}, []string{"", "/x/a=1"}},
		{"a directory and a file made durable", func(t *testing.T, d *Disk) {
			check(t, d.MkdirAll("/x", 0o755))
			f := create(t, d, "/x/a")
			check(t, d.SyncDir("/x"))
			check(t, d.SyncDir("/"))
			_ = f
		}, []string{"/x/a="}},
		{"a failed sync loses its bytes for good", func(t *testing.T, d *Disk) {
			f := create(t, d, "/a")
			check(t, d.SyncDir("/"))
			write(t, f, "12")
			d.Inject(Fault{Op: Sync, Times: 1, Err: syscall.EIO})
			if err := f.Sync(); !errors.Is(err, syscall.EIO) {
				t.Fatalf("Sync = %v, want EIO", err)
			}
			write(t, f, "3")
			check(t, f.Sync())
		}, []string{"/a=\x00\x003"}},
		{"a truncation is lost or not", func(t *testing.T, d *Disk) {
			f := create(t, d, "/a")
			write(t, f, "12")
			check(t, f.Sync())
			check(t, d.SyncDir("/"))
			check(t, f.Truncate(1))
		}, []string{"/a=1", "/a=12"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := map[string]bool{}
			for seed := range uint64(200) {
				d := NewDisk()
				test.run(t, d)
				d.PowerLoss(rand.New(rand.NewPCG(seed, 1)))
				got[contents(d)] = true
			}
			for _, outcome := range test.want {
				if !got[outcome] {
					t.Errorf("%q never happened", outcome)
				}
				delete(got, outcome)
			}
			for outcome := range got {
				t.Errorf("%q happened", outcome)
			}
		})
	}
}

func TestPowerLossScattersSectors(t *testing.T) {
	old, new := bytes.Repeat([]byte{'o'}, 4*sectorSize), bytes.Repeat([]byte{'n'}, 4*sectorSize)
	mixed := false
	for seed := range uint64(100) {
		d := NewDisk()
		f := create(t, d, "/a")
		write(t, f, string(old))
		check(t, f.Sync())
		check(t, d.SyncDir("/"))
		_, err := f.Seek(0, 0)
		check(t, err)
		write(t, f, string(new))
		d.PowerLoss(rand.New(rand.NewPCG(seed, 1)))
		got, _ := d.ReadFile("/a")
		mixed = mixed || got[0] == 'o' && got[3*sectorSize] == 'n'
	}
	if !mixed {
		t.Error("a later sector never survived an earlier one")
	}
}

func TestKillKeepsWhatWasWritten(t *testing.T) {
	d := NewDisk()
	f := create(t, d, "/a")
	write(t, f, "12")
	l, err := d.Lock("/lock")
	check(t, err)
	d.Kill()
	if got := contents(d); got != "/a=12 /lock=" {
		t.Errorf("contents = %q", got)
	}
	if _, err := f.Write([]byte("3")); err == nil {
		t.Error("a killed program wrote")
	}
	again, err := d.Lock("/lock")
	if err != nil {
		t.Fatalf("lock of a killed program: %v", err)
	}
	if err := l.Close(); err == nil {
		t.Error("a killed program released a lock")
	}
	if _, err := d.Lock("/lock"); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("Lock = %v, want ErrLocked", err)
	}
	check(t, again.Close())
	if n := d.OpenFiles(); n != 0 {
		t.Errorf("%d files open", n)
	}
}

func TestFaults(t *testing.T) {
	d := NewDisk()
	f := create(t, d, "/data-1")
	d.Inject(Fault{Op: Write, Match: "data-*", After: 1, Times: 2, Err: syscall.EIO, Short: 1})
	for i, want := range []struct {
		n   int
		err error
	}{{2, nil}, {1, syscall.EIO}, {1, syscall.EIO}, {2, nil}} {
		n, err := f.Write([]byte("ab"))
		if n != want.n || !errors.Is(err, want.err) {
			t.Errorf("write %d = %d, %v; want %d, %v", i, n, err, want.n, want.err)
		}
	}
	if got := contents(d); got != "/data-1=abaaab" {
		t.Errorf("contents = %q", got)
	}
	other := create(t, d, "/other")
	d.Inject(Fault{Op: Sync, Match: "data-*", Err: syscall.EIO})
	for range 3 {
		if err := f.Sync(); !errors.Is(err, syscall.EIO) {
			t.Errorf("Sync = %v, want EIO", err)
		}
	}
	check(t, other.Sync())
	d.Heal()
	check(t, f.Sync())
	for _, test := range []struct {
		op  Op
		run func() error
	}{
		{Open, func() error { _, err := d.OpenFile("/x", os.O_CREATE, 0o600); return err }},
		{Read, func() error { _, err := f.ReadAt(make([]byte, 1), 0); return err }},
		{Seek, func() error { _, err := f.Seek(0, 0); return err }},
		{Truncate, func() error { return f.Truncate(0) }},
		{Stat, func() error { _, err := f.Stat(); return err }},
		{Rename, func() error { return d.Rename("/other", "/x") }},
		{Remove, func() error { return d.Remove("/other") }},
		{Mkdir, func() error { return d.MkdirAll("/dir", 0o755) }},
		{SyncDir, func() error { return d.SyncDir("/") }},
	} {
		d.Inject(Fault{Op: test.op, Times: 1, Err: syscall.EIO})
		if err := test.run(); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s = %v, want EIO", test.op, err)
		}
	}
	if got := contents(d); got != "/data-1=abaaab /other=" {
		t.Errorf("failed operations left %q", got)
	}
}

func TestFullDisk(t *testing.T) {
	d := NewDisk()
	f := create(t, d, "/a")
	d.SetCapacity(3)
	if n, err := f.Write([]byte("abcd")); n != 3 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Write = %d, %v; want 3, ENOSPC", n, err)
	}
	if n, err := f.Write([]byte("e")); n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Write = %d, %v; want 0, ENOSPC", n, err)
	}
	if used := d.Used(); used != 3 {
		t.Errorf("Used = %d, want 3", used)
	}
	check(t, f.Truncate(1))
	_, err := f.Seek(1, io.SeekStart)
	check(t, err)
	write(t, f, "fg")
	if got := contents(d); got != "/a=afg" {
		t.Errorf("contents = %q", got)
	}
}

// contents returns "name=bytes" of all files, joined by spaces.
func contents(d *Disk) string {
	var files []string
	for _, name := range d.Files("/") {
		data, _ := d.ReadFile(name)
		files = append(files, fmt.Sprintf("%s=%s", name, data))
	}
	return strings.Join(files, " ")
}

func create(t *testing.T, d *Disk, name string) vfs.File {
	t.Helper()
	f, err := d.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	check(t, err)
	return f
}

func write(t *testing.T, f vfs.File, s string) {
	t.Helper()
	if _, err := f.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
