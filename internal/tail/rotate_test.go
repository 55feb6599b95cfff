package tail

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Each case rotates a log in one way. It is gone through with the file kept open,
// with it closed in between, and with a new reader that goes on from a place:
// what was written comes once, in order, and without a gap.
func TestRotationWithoutLoss(t *testing.T) {
	const keep = 9
	tests := map[string]func(w *writer){
		"nothing":       func(*writer) {},
		"append":        func(w *writer) { w.write(3) },
		"rename":        func(w *writer) { w.rename(keep) },
		"rename, more":  func(w *writer) { w.write(3); w.rename(keep); w.write(3) },
		"rename, dated": func(w *writer) { w.write(3); w.renameDated(); w.write(3) },
		"rename twice":  func(w *writer) { w.write(2); w.rename(keep); w.write(2); w.rename(keep); w.write(2) },
		"rename to .gz": func(w *writer) { w.write(2); w.rename(keep); w.write(2); w.compress(w.at(".1")); w.write(1) },
		"several to .gz": func(w *writer) {
			for range 3 {
				w.write(2)
				w.rename(keep)
				w.write(2)
				w.compress(w.at(".1"))
			}
		},
		"compression under way": func(w *writer) {
			w.write(2)
			w.rename(keep)
			must(w.t, os.WriteFile(w.at(".1.gz"), []byte("\x1f\x8b\x08"), 0o600))
			w.write(2)
		},
		"compressed and not yet removed": func(w *writer) { w.write(2); w.rename(keep); w.pack(w.at(".1")); w.write(2) },
		"copied, not truncated":          func(w *writer) { w.write(2); w.copyTo(w.at(".1")); w.write(2) },
		"copy and truncate":              func(w *writer) { w.write(2); w.copyTruncate(keep) },
		"copy and truncate, more":        func(w *writer) { w.write(2); w.copyTruncate(keep); w.write(1) },
		"copy and truncate, regrown": func(w *writer) {
			w.write(2)
			w.copyTruncate(keep)
			w.write(40)
		},
		"copy and truncate, dated":  func(w *writer) { w.write(2); w.copyTruncateDated(); w.write(3) },
		"copy and truncate to .gz":  func(w *writer) { w.write(2); w.copyTruncate(keep); w.compress(w.at(".1")); w.write(3) },
		"copy and truncate twice":   func(w *writer) { w.copyTruncate(keep); w.write(3); w.copyTruncate(keep); w.write(3) },
		"rename, copy and truncate": func(w *writer) { w.write(1); w.rename(keep); w.write(1); w.copyTruncate(keep); w.write(1) },
		"copy, truncate and rename": func(w *writer) { w.write(1); w.copyTruncate(keep); w.write(1); w.rename(keep); w.write(1) },
		"renamed, the new one empty": func(w *writer) {
			w.rename(keep)
		},
		"many lines": func(w *writer) {
			for range 5 {
				w.write(2000)
				w.rename(keep)
			}
			w.compress(w.at(".2"))
			w.compress(w.at(".3"))
			w.write(2000)
		},
	}
	ways := map[string]func(*follower, bookmark){
		"open":      func(*follower, bookmark) {},
		"closed":    func(f *follower, _ bookmark) { f.reader.Close() },
		"restarted": func(f *follower, b bookmark) { f.restart(b) },
	}
	for name, rotate := range tests {
		for way, prepare := range ways {
			t.Run(name+"/"+way, func(t *testing.T) {
				w, f := newTest(t)
				w.write(10)
				f.drain()
				b := f.bookmark()
				rotate(w)
				prepare(f, b)
				f.drain()
				w.write(5)
				f.drain()
				f.want(1, w.lines)
			})
		}
	}
}

// A place can be as old as one likes, while what follows it is retained.
func TestResumeFromOldPlaces(t *testing.T) {
	w, f := newTest(t)
	var marks []bookmark
	for round := range 6 {
		w.write(7)
		f.drain()
		marks = append(marks, f.bookmark())
		w.write(3)
		switch round % 3 {
		case 0:
			w.rename(9)
		case 1:
			w.copyTruncate(9)
			w.compress(w.at(".2"))
		}
	}
	for i := len(marks) - 1; i >= 0; i-- {
		f.restart(marks[i])
		f.drain()
		got := append([]string{}, f.got...)
		f.want(1, w.lines)
		f.got = got
	}
}

// What nobody can know any more is a gap, and nothing else is lost or repeated.
func TestRotationWithLoss(t *testing.T) {
	f := func(name string, rotate func(w *writer), want func(w *writer) []any) {
		t.Run(name, func(t *testing.T) {
			w, f := newTest(t)
			w.write(10)
			f.drain()
			rotate(w)
			f.drain()
			w.write(5)
			f.drain()
			f.want(want(w)...)
		})
	}
	gapAt := func(last, next int) func(w *writer) []any {
		return func(w *writer) []any { return []any{1, last, gapMark, next, w.lines} }
	}
	f("truncated", func(w *writer) { w.truncate() }, gapAt(10, 11))
	f("truncated, unread lines gone", func(w *writer) { w.write(5); w.truncate(); w.write(2) }, gapAt(10, 16))
	f("truncated, regrown", func(w *writer) { w.truncate(); w.write(50) }, gapAt(10, 11))
	f("truncated with older files", func(w *writer) {
		must(w.t, os.WriteFile(w.at(".1"), []byte("line of long ago\n"), 0o600))
		old := w.now.Add(-time.Hour)
		must(w.t, os.Chtimes(w.at(".1"), old, old))
		w.truncate()
	}, gapAt(10, 11))
	f("replaced", func(w *writer) { w.write(5); must(w.t, os.Remove(w.path)); w.create(); w.write(5) },
		func(w *writer) []any { return []any{1, 15, gapMark, 16, w.lines} })
	f("rotated beyond what is kept", func(w *writer) {
		for range 4 {
			w.write(5)
			w.rename(2)
		}
	}, func(w *writer) []any { return []any{1, 15, gapMark, 21, w.lines} })
	f("torn .gz", func(w *writer) {
		w.write(5)
		w.copyTruncate(9)
		w.write(5)
		w.copyTruncate(9)
		w.pack(w.at(".1"))
		must(w.t, os.Remove(w.at(".1")))
		must(w.t, os.Truncate(w.at(".1.gz"), 25))
	}, func(w *writer) []any { return []any{1, 15, "line 000016 x(cut)", gapMark, 21, w.lines} })
}

// A file that is truncated after it was opened, and before anything was read of
// it, is another one from then on: what was in it is a gap, and a copy that is made
// of it later is known for what it is.
func TestTruncatedBeforeItIsRead(t *testing.T) {
	w, f := newTest(t)
	w.write(1)
	f.drain()
	w.copyTruncateDated()
	w.write(1)
	f.step()
	w.rename(9)
	w.retain(0)
	w.write(24)
	f.step()
	f.want(1, 1, gapMark)
	w.truncate()
	w.write(6)
	f.step()
	f.step()
	w.copyTruncate(9)
	w.write(1)
	f.drain()
	f.want(gapMark, 27, w.lines)
}

// An unterminated last line waits while its file is written to, and is a record
// when that has been rotated away or is gone.
func TestUnterminatedLine(t *testing.T) {
	start := func(t *testing.T) (*writer, *follower) {
		w, f := newTest(t)
		w.raw("whole\nhal")
		f.drain()
		f.want("whole")
		f.drain()
		f.want()
		return w, f
	}
	t.Run("ends", func(t *testing.T) {
		w, f := start(t)
		w.raw("f\n")
		f.drain()
		f.want("half")
	})
	t.Run("rotated", func(t *testing.T) {
		w, f := start(t)
		w.rename(9)
		w.raw("next\n")
		f.drain()
		f.want("hal(cut)", "next")
	})
	t.Run("copied in the middle of it", func(t *testing.T) {
		w, f := start(t)
		w.copyTruncate(9)
		w.raw("next\n")
		f.drain()
		f.want("hal(cut)", "next")
	})
	t.Run("removed", func(t *testing.T) {
		w, f := start(t)
		must(t, os.Remove(w.path))
		f.drain()
		f.want("hal(cut)", endMark)
		w.create()
		w.raw("again\n")
		f.drain()
		f.want("again")
	})
	t.Run("after a restart", func(t *testing.T) {
		w, f := start(t)
		b := f.bookmark()
		b.got = 0
		w.raw("f\n")
		f.restart(b)
		f.drain()
		f.want("half")
	})
}

// A writer that goes on in the renamed file is waited for, until it is silent.
func TestSettle(t *testing.T) {
	w := newWriter(t, t.TempDir())
	f := follow(t, w)
	f.opts.Settle = 10 * time.Second
	f.restart(bookmark{})
	defer func() { f.reader.Close(); w.close() }()
	w.write(3)
	f.drain()
	old := w.live
	w.live = nil
	must(t, os.Rename(w.path, w.at(".1")))
	w.create()
	fresh := w.live
	w.live = old
	write := func(name string) {
		w.lines++
		w.tick()
		_, err := w.live.WriteString(line(w.lines) + "\n")
		must(t, err)
		w.stamp(name)
	}
	write(w.at(".1"))
	f.drain()
	write(w.at(".1"))
	f.drain()
	f.want(1, 5)
	w.live = fresh
	write(w.path)
	f.drain()
	f.want() // the old one was written to a moment ago
	w.now = w.now.Add(20 * time.Second)
	f.drain()
	f.want(6, 6)
	must(t, old.Close())
}

// An empty successor is not gone to before the writer has come to it, unless it
// never does.
func TestEmptySuccessor(t *testing.T) {
	w, f := newTest(t)
	w.write(3)
	f.drain()
	w.rename(9)
	f.drain()
	if f.reader.Inode() == inodeOf(t, w.path) {
		t.Error("went to a file that is empty")
	}
	w.now = w.now.Add(patience)
	f.drain()
	if f.reader.Inode() != inodeOf(t, w.path) {
		t.Error("did not go to the new file")
	}
	w.write(3)
	f.drain()
	f.want(1, 6)
}

func inodeOf(t *testing.T, path string) uint64 {
	t.Helper()
	s, err := look(path)
	must(t, err)
	return s.inode
}

// A file that was empty when it was looked at, and was copied and truncated
// since, is not lost.
func TestCopiedBeforeItWasRead(t *testing.T) {
	w, f := newTest(t)
	f.drain()
	w.write(3)
	w.copyTruncate(9)
	w.write(3)
	w.copyTruncate(9)
	w.write(3)
	f.drain()
	f.want(1, 9)
}

// A file that was empty when it was opened, and was written to and removed before
// it was looked at again, is read to its end all the same.
func TestEmptyThenRemoved(t *testing.T) {
	w, f := newTest(t)
	f.drain()
	w.write(3)
	for range 3 {
		w.rename(1)
		w.write(2)
	}
	f.drain()
	f.want(1, 3, gapMark, 6, 9)
}

// Files that begin in the same way are told apart.
func TestSameHeads(t *testing.T) {
	w, f := newTest(t)
	header := strings.Repeat("#", 2000)
	w.raw(header + "\n")
	w.write(3)
	f.drain()
	w.rename(9)
	w.raw(header + "\n")
	w.write(3)
	f.drain()
	w.copyTruncate(9)
	w.raw(header + "\n")
	w.write(3)
	f.drain()
	f.want(header, 1, 3, header, 4, 6, header, 7, 9)
}

// A reader that keeps up knows how much a truncation took from it.
func TestLostBytes(t *testing.T) {
	w, f := newTest(t)
	w.write(1)
	w.raw("unterminated")
	f.drain()
	w.truncate()
	for {
		c, err := f.reader.Next(f.buf)
		must(t, err)
		if c.Kind == Gap {
			if c.Lost != int64(len("unterminated")) || c.Reason == "" {
				t.Errorf("gap %+v", c)
			}
			return
		}
		if c.Kind == Idle {
			t.Fatal("no gap")
		}
	}
}

// What is no log is an error that passes.
func TestNotRegular(t *testing.T) {
	w, f := newTest(t)
	w.write(2)
	f.drain()
	must(t, os.Rename(w.path, w.at(".1")))
	must(t, syscall.Mkfifo(w.path, 0o600))
	if _, err := f.reader.Next(f.buf); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("error %v", err)
	}
	must(t, os.Remove(w.path))
	w.create()
	w.write(2)
	f.drain()
	f.want(1, 4)
}

// A file that can't be opened is tried again.
func TestPermission(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Log("root can open everything: a directory in the way stands for it")
	}
	w, f := newTest(t)
	w.write(2)
	f.drain()
	f.reader.Close()
	w.write(1)
	aside := filepath.Join(w.dir, "aside")
	must(t, os.Rename(w.path, aside))
	must(t, os.Mkdir(w.path, 0o700))
	if _, err := f.reader.Next(f.buf); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	must(t, os.Remove(w.path))
	must(t, os.Rename(aside, w.path))
	f.drain()
	f.want(1, 3)
}

func TestIsRotation(t *testing.T) {
	f := func(base, name string, want bool) {
		t.Helper()
		if IsRotation(base, name) != want {
			t.Errorf("IsRotation(%q, %q) is %v", base, name, !want)
		}
		if slices.Contains(Bases(name), base) != want {
			t.Errorf("Bases(%q) = %q, with or without %q", name, Bases(name), base)
		}
	}
	f("app.log", "app.log", false)
	f("app.log", "app.log.1", true)
	f("app.log", "app.log.12.gz", true)
	f("app.log", "app.log-20240131", true)
	f("app.log", "app.log-20240131-1706659200.gz", true)
	f("app.log", "app.log.2024-01-31_23", true)
	f("app.log", "app-20240131.log", true)
	f("app.log", "app-2024-01-31T23-59-59.000.log.gz", true)
	f("app.log", "app.2024-01-31.1.log", true)
	f("app.log", "app-1.log", false) // a second process, more likely
	f("app.log", "app.logger", false)
	f("app.log", "app.log.old", false)
	f("app.log", "app.log.1.swp", false)
	f("app.log", "other.log.1", false)
	f("0.log", "0.log.20240131-235959", true)
	f("0.log", "1.log", false)
	f("syslog", "syslog.1", true)
	f("syslog", "syslog", false)
}
