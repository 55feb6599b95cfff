package tail

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// rotations are what a writer may do to its log so that nothing is lost.
var rotations = map[string]func(w *writer){
	"rename":        func(w *writer) { w.rename(100) },
	"rename dated":  (*writer).renameDated,
	"copytruncate":  func(w *writer) { w.copyTruncate(100) },
	"copy dated":    (*writer).copyTruncateDated,
	"compress one":  func(w *writer) { w.compressOne(0) },
	"compress most": func(w *writer) { w.compressOne(1); w.compressOne(2); w.compressOne(3) },
	"backup":        func(w *writer) { w.copyTo(filepath.Join(w.dir, "backup")) },
	"packing": func(w *writer) {
		if exists(w.at(".1")) {
			w.pack(w.at(".1"))
		}
	},
}

// losses are what a writer may do so that lines are lost that were not read yet.
var losses = map[string]func(w *writer){
	"truncate": (*writer).truncate,
	"replace":  func(w *writer) { must(w.t, os.Remove(w.path)); w.create() },
	"keep one": func(w *writer) {
		w.rename(100)
		w.retain(1)
	},
	"keep none": func(w *writer) { w.rename(100); w.retain(0) },
}

// rotated returns the rotated files, the latest first.
func (w *writer) rotated() []string {
	paths, err := new(Lister).Rotations(w.path)()
	must(w.t, err)
	slices.Reverse(paths)
	return paths
}

// compressOne packs a rotated file, counted from the latest, as a rotation with
// compression would: what is packed already, and what is being packed, stays.
func (w *writer) compressOne(n int) {
	paths := w.rotated()
	if n < len(paths) && !strings.HasSuffix(paths[n], ".gz") {
		w.compress(paths[n])
	}
}

// retain removes all rotated files but the latest ones.
func (w *writer) retain(keep int) {
	for i, path := range w.rotated() {
		if i >= keep {
			must(w.t, os.Remove(path))
		}
	}
}

// A writer rotates in all ways at random while a follower steps, closes its file
// and starts over from places that it was at. Whatever they do, lines come in
// order and once. Where lines are missing, there is a gap; where none could be,
// there is none.
func TestModel(t *testing.T) {
	f := func(name string, lossy bool) {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			run := 0
			rapid.Check(t, func(t *rapid.T) {
				run++
				dir := filepath.Join(base, fmt.Sprint(run))
				must(t, os.Mkdir(dir, 0o700))
				runModel(t, dir, lossy)
				must(t, os.RemoveAll(dir))
			})
		})
	}
	f("lossless", false)
	f("lossy", true)
}

func runModel(t *rapid.T, dir string, lossy bool) {
	w := newWriter(t, dir)
	f := follow(t, w)
	defer func() { f.reader.Close(); w.close() }()
	// A file that was only seen empty has nothing but its inode number to be known
	// by, which the next one may get.
	w.write(1)
	f.drain()
	marks := []bookmark{f.bookmark()}
	if marks[0].place.IsZero() {
		t.Fatal("no place")
	}
	actions := map[string]func(*rapid.T){
		"write":  func(t *rapid.T) { w.write(rapid.IntRange(1, 40).Draw(t, "lines")) },
		"step":   func(*rapid.T) { f.step() },
		"steps":  func(*rapid.T) { f.step(); f.step(); f.step() },
		"drain":  func(*rapid.T) { f.drain() },
		"close":  func(*rapid.T) { f.reader.Close() },
		"mark":   func(*rapid.T) { marks = append(marks, f.bookmark()) },
		"resume": func(*rapid.T) { f.restart(f.bookmark()) },
	}
	if !lossy {
		// Reading again from an old place finds what is lost meanwhile missing in
		// another way: one that was read already.
		actions["back"] = func(t *rapid.T) {
			i := rapid.IntRange(0, len(marks)-1).Draw(t, "mark")
			f.restart(marks[i])
			marks = marks[:i+1]
		}
	}
	for name, rotation := range rotations {
		actions[name] = func(*rapid.T) {
			// Nobody rotates an empty file, and nothing could tell where it went.
			if info, err := os.Stat(w.path); err == nil && info.Size() > 0 {
				rotation(w)
			}
		}
	}
	if lossy {
		for name, loss := range losses {
			actions[name] = func(*rapid.T) {
				// A file of which nothing was read yet is missed by nobody: the
				// follower has to have come to it.
				f.step()
				live, err := look(w.path)
				must(t, err)
				if f.reader.id.HeadLength > 0 && (live.inode == f.reader.Inode() || !strings.HasPrefix(name, "re") && name != "truncate") {
					loss(w)
				}
			}
		}
	}
	t.Repeat(actions)
	// At last, a line that is in the live file ends all waiting.
	w.write(1)
	w.now = w.now.Add(patience)
	f.drain()
	checkModel(t, f.got, w.lines, lossy)
}

// checkModel checks what a follower got of the lines 1 to last.
func checkModel(t tester, got []string, last int, lossy bool) {
	next, gap := 1, false
	for i, l := range got {
		if l == gapMark {
			gap = true
			if !lossy {
				t.Fatalf("a gap before line %d, and nothing was lost", next)
			}
			continue
		}
		var n int
		if _, err := fmt.Sscanf(l, "line %d", &n); err != nil || l != line(n) {
			t.Fatalf("%d: line %q is none that was written", i, l)
		}
		switch {
		case n < next:
			t.Fatalf("line %d after %d", n, next-1)
		case n > next && !gap:
			t.Fatalf("line %d after %d, without a gap", n, next-1)
		}
		next, gap = n+1, false
	}
	if next != last+1 {
		t.Fatalf("the last line is %d, want %d", next-1, last)
	}
}
