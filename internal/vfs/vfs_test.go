package vfs_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"log_capturer/internal/vfs"
	"log_capturer/internal/vfs/vfstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestFS holds every implementation to the same behaviour, so that what the
// stores' tests show on the simulated disk holds on the real one.
func TestFS(t *testing.T) {
	implementations := map[string]func(t *testing.T) (vfs.FS, string){
		"OS":   func(t *testing.T) (vfs.FS, string) { return vfs.OS{}, t.TempDir() },
		"Disk": func(t *testing.T) (vfs.FS, string) { return newDisk(t), "/root/dir" },
	}
	for name, make := range implementations {
		t.Run(name, func(t *testing.T) {
			for name, test := range behaviours {
				t.Run(name, func(t *testing.T) {
					fsys, dir := make(t)
					test(t, fsys, dir)
				})
			}
		})
	}
}

func newDisk(t *testing.T) *vfstest.Disk {
	d := vfstest.NewDisk()
	check(t, d.MkdirAll("/root/dir", 0o755))
	return d
}

var behaviours = map[string]func(t *testing.T, fsys vfs.FS, dir string){
	"append writes at the end": func(t *testing.T, fsys vfs.FS, dir string) {
		f := open(t, fsys, filepath.Join(dir, "a"), os.O_RDWR|os.O_CREATE|os.O_APPEND)
		write(t, f, "hello")
		check(t, f.Truncate(2))
		write(t, f, "y")
		_, err := f.Seek(0, io.SeekStart)
		check(t, err)
		write(t, f, "!")
		wantBytes(t, f, "hey!")
		check(t, f.Sync())
	},
	"write and seek overwrite": func(t *testing.T, fsys vfs.FS, dir string) {
		f := open(t, fsys, filepath.Join(dir, "a"), os.O_RDWR|os.O_CREATE)
		write(t, f, "hello")
		pos, err := f.Seek(-4, io.SeekEnd)
		check(t, err)
		if pos != 1 {
			t.Fatalf("Seek = %d, want 1", pos)
		}
		write(t, f, "a")
		rest, err := io.ReadAll(f)
		check(t, err)
		if string(rest) != "llo" {
			t.Errorf("rest = %q", rest)
		}
		wantBytes(t, f, "hallo")
	},
	"a hole reads as zeros": func(t *testing.T, fsys vfs.FS, dir string) {
		f := open(t, fsys, filepath.Join(dir, "a"), os.O_RDWR|os.O_CREATE)
		check(t, f.Truncate(2))
		_, err := f.Seek(3, io.SeekStart)
		check(t, err)
		write(t, f, "x")
		wantBytes(t, f, "\x00\x00\x00x")
	},
	"ReadAt past the end": func(t *testing.T, fsys vfs.FS, dir string) {
		f := open(t, fsys, filepath.Join(dir, "a"), os.O_RDWR|os.O_CREATE)
		write(t, f, "abc")
		b := make([]byte, 4)
		if n, err := f.ReadAt(b, 1); n != 2 || err != io.EOF {
			t.Errorf("ReadAt = %d, %v; want 2, EOF", n, err)
		}
		if n, err := f.ReadAt(b, 9); n != 0 || err != io.EOF {
			t.Errorf("ReadAt = %d, %v; want 0, EOF", n, err)
		}
	},
	"open flags": func(t *testing.T, fsys vfs.FS, dir string) {
		name := filepath.Join(dir, "a")
		_, err := fsys.OpenFile(name, os.O_RDWR, 0)
		wantErr(t, err, fs.ErrNotExist)
		_, err = fsys.OpenFile(filepath.Join(dir, "missing", "a"), os.O_RDWR|os.O_CREATE, 0o600)
		wantErr(t, err, fs.ErrNotExist)
		f := open(t, fsys, name, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
		write(t, f, "abc")
		_, err = fsys.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		wantErr(t, err, fs.ErrExist)
		r := open(t, fsys, name, os.O_RDONLY)
		wantBytes(t, r, "abc")
		if _, err := r.Write([]byte("x")); err == nil {
			t.Error("wrote to a file that was opened for reading")
		}
		open(t, fsys, name, os.O_WRONLY|os.O_TRUNC)
		wantBytes(t, r, "")
	},
	"names": func(t *testing.T, fsys vfs.FS, dir string) {
		b, a, sub := filepath.Join(dir, "b"), filepath.Join(dir, "a"), filepath.Join(dir, "x", "y")
		check(t, fsys.MkdirAll(sub, 0o755))
		check(t, fsys.MkdirAll(sub, 0o755))
		write(t, open(t, fsys, b, os.O_WRONLY|os.O_CREATE), "new")
		write(t, open(t, fsys, a, os.O_WRONLY|os.O_CREATE), "replaced")
		wantNames(t, fsys, dir, "a", "b", "x/")
		check(t, fsys.Rename(b, a))
		wantNames(t, fsys, dir, "a", "x/")
		info, err := fsys.Stat(a)
		check(t, err)
		if info.Name() != "a" || info.Size() != 3 || info.IsDir() || info.ModTime().IsZero() {
			t.Errorf("Stat = %v", info)
		}
		wantErr(t, fsys.Rename(b, a), fs.ErrNotExist)
		check(t, fsys.SyncDir(dir))
		wantErr(t, fsys.SyncDir(b), fs.ErrNotExist)
		if err := fsys.Remove(filepath.Join(dir, "x")); err == nil {
			t.Error("removed a directory that is not empty")
		}
		check(t, fsys.Remove(sub))
		check(t, fsys.Remove(a))
		wantErr(t, fsys.Remove(a), fs.ErrNotExist)
		wantNames(t, fsys, dir, "x/")
		_, err = fsys.Stat(a)
		wantErr(t, err, fs.ErrNotExist)
		_, err = fsys.ReadDir(sub)
		wantErr(t, err, fs.ErrNotExist)
	},
	"a removed file can be read while it is open": func(t *testing.T, fsys vfs.FS, dir string) {
		f := open(t, fsys, filepath.Join(dir, "a"), os.O_RDWR|os.O_CREATE)
		check(t, fsys.Remove(f.Name()))
		write(t, f, "abc")
		wantBytes(t, f, "abc")
	},
	"a closed file is closed": func(t *testing.T, fsys vfs.FS, dir string) {
		f, err := fsys.OpenFile(filepath.Join(dir, "a"), os.O_RDWR|os.O_CREATE, 0o600)
		check(t, err)
		check(t, f.Close())
		_, err = f.Write([]byte("x"))
		wantErr(t, err, fs.ErrClosed)
		wantErr(t, f.Sync(), fs.ErrClosed)
		wantErr(t, f.Close(), fs.ErrClosed)
	},
	"one holds a lock": func(t *testing.T, fsys vfs.FS, dir string) {
		name := filepath.Join(dir, "lock")
		l, err := fsys.Lock(name)
		check(t, err)
		_, err = fsys.Lock(name)
		wantErr(t, err, vfs.ErrLocked)
		check(t, l.Close())
		l, err = fsys.Lock(name)
		check(t, err)
		check(t, l.Close())
	},
}

func open(t *testing.T, fsys vfs.FS, name string, flag int) vfs.File {
	t.Helper()
	f, err := fsys.OpenFile(name, flag, 0o600)
	check(t, err)
	t.Cleanup(func() { check(t, f.Close()) })
	return f
}

func write(t *testing.T, f vfs.File, s string) {
	t.Helper()
	n, err := f.Write([]byte(s))
	check(t, err)
	if n != len(s) {
		t.Fatalf("Write = %d, want %d", n, len(s))
	}
}

func wantBytes(t *testing.T, f vfs.File, want string) {
	t.Helper()
	info, err := f.Stat()
	check(t, err)
	got := make([]byte, info.Size())
	if _, err := f.ReadAt(got, 0); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("file holds %q, want %q", got, want)
	}
}

func wantNames(t *testing.T, fsys vfs.FS, dir string, want ...string) {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	check(t, err)
	var got []string
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() {
			name += "/"
		}
		got = append(got, name)
	}
	if len(got) != len(want) {
		t.Fatalf("directory holds %q, want %q", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("directory holds %q, want %q", got, want)
		}
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error = %v, want %v", err, want)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
