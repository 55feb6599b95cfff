package tail

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"log_capturer/internal/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tester is what a test and a check of rapid have in common.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

func must(t tester, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// writer writes numbered lines to a log and rotates it. Its clock goes on by a
// second with whatever it does, and files have the times of that clock.
type writer struct {
	t    tester
	dir  string
	path string
	now  time.Time
	live *os.File
	// lines is how many were written.
	lines int
}

func newWriter(t tester, dir string) *writer {
	w := &writer{t: t, dir: dir, path: filepath.Join(dir, "app.log"), now: time.Unix(1_700_000_000, 0)}
	w.create()
	return w
}

func (w *writer) tick() { w.now = w.now.Add(time.Second) }

func (w *writer) stamp(path string) { must(w.t, os.Chtimes(path, w.now, w.now)) }

// create opens the live file, and makes it where it is not there.
func (w *writer) create() {
	w.tick()
	w.close()
	var err error
	w.live, err = os.OpenFile(w.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	must(w.t, err)
	w.stamp(w.path)
}

func (w *writer) close() {
	if w.live != nil {
		must(w.t, w.live.Close())
		w.live = nil
	}
}

func (w *writer) raw(text string) {
	w.tick()
	_, err := w.live.WriteString(text)
	must(w.t, err)
	if info, err := os.Stat(w.live.Name()); err == nil {
		if own, err := w.live.Stat(); err == nil && os.SameFile(info, own) {
			w.stamp(w.live.Name())
		}
	}
}

func line(n int) string { return fmt.Sprintf("line %06d %s", n, strings.Repeat("x", n*7%60)) }

func (w *writer) write(n int) {
	var b strings.Builder
	for range n {
		w.lines++
		b.WriteString(line(w.lines) + "\n")
	}
	w.raw(b.String())
}

func (w *writer) at(suffix string) string { return w.path + suffix }

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// shift makes room for .1: it moves each rotated file up by one, and removes the
// one that is keep files old.
func (w *writer) shift(keep int) {
	for n := keep; n >= 1; n-- {
		for _, ext := range []string{"", ".gz"} {
			from := w.at(fmt.Sprintf(".%d%s", n, ext))
			if !exists(from) {
				continue
			}
			if n == keep {
				must(w.t, os.Remove(from))
			} else {
				must(w.t, os.Rename(from, w.at(fmt.Sprintf(".%d%s", n+1, ext))))
			}
		}
	}
}

// rename rotates as logrotate does with create.
func (w *writer) rename(keep int) {
	w.shift(keep)
	must(w.t, os.Rename(w.path, w.at(".1")))
	w.create()
}

// renameDated rotates as logrotate does with dateext.
func (w *writer) renameDated() {
	w.tick()
	must(w.t, os.Rename(w.path, w.at(w.now.Format("-20060102-150405"))))
	w.create()
}

func (w *writer) copyTo(path string) {
	w.tick()
	content, err := os.ReadFile(w.path)
	must(w.t, err)
	must(w.t, os.WriteFile(path, content, 0o600))
	w.stamp(path)
}

func (w *writer) truncate() {
	w.tick()
	must(w.t, os.Truncate(w.path, 0))
	w.stamp(w.path)
}

// copyTruncate rotates as logrotate does with copytruncate.
func (w *writer) copyTruncate(keep int) {
	w.shift(keep)
	w.copyTo(w.at(".1"))
	w.truncate()
}

func (w *writer) copyTruncateDated() {
	w.tick()
	w.copyTo(w.at(w.now.Format("-20060102-150405")))
	w.truncate()
}

// compress packs a file; the packed one has its times, as gzip makes it.
func (w *writer) compress(path string) {
	w.pack(path)
	must(w.t, os.Remove(path))
}

func (w *writer) pack(path string) {
	content, err := os.ReadFile(path)
	must(w.t, err)
	info, err := os.Stat(path)
	must(w.t, err)
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err = z.Write(content)
	must(w.t, err)
	must(w.t, z.Close())
	must(w.t, os.WriteFile(path+".gz", b.Bytes(), 0o600))
	must(w.t, os.Chtimes(path+".gz", info.ModTime(), info.ModTime()))
}

// follower takes the lines of a log, as a monitor would.
type follower struct {
	t      tester
	w      *writer
	reader *Reader
	opts   Options
	buf    []byte
	// got are the lines. A gap is a line of its own, and so is an end.
	got []string
}

const (
	gapMark = "(gap)"
	endMark = "(ended)"
)

func follow(t tester, w *writer) *follower {
	f := &follower{t: t, w: w, buf: make([]byte, MinBuffer)}
	f.opts.Now = func() time.Time { return w.now }
	f.reader = NewReader(Log{Path: w.path, Rotated: new(Lister).Rotations(w.path)}, Start{}, f.opts)
	return f
}

// bookmark is what a follower can be made to go on from.
type bookmark struct {
	place record.Place
	since int64
	got   int
}

func (f *follower) bookmark() bookmark {
	for len(f.reader.out) > 0 {
		f.step() // a gap that was found out is told before the place behind it
	}
	return bookmark{f.reader.Place(), f.reader.Written(), len(f.got)}
}

// restart goes on with a new reader from a bookmark.
func (f *follower) restart(b bookmark) {
	f.reader.Close()
	f.got = f.got[:b.got]
	f.reader = NewReader(f.reader.log, Start{Place: b.place, Since: b.since}, f.opts)
}

// step makes one step, and reports whether there is more.
func (f *follower) step() bool {
	f.t.Helper()
	c, err := f.reader.Next(f.buf)
	must(f.t, err)
	switch c.Kind {
	case Gap:
		f.got = append(f.got, gapMark)
	case Ended:
		if n := len(f.got); n == 0 || f.got[n-1] != endMark {
			f.got = append(f.got, endMark)
		}
		return false
	case Idle:
		return false
	case Data:
		used := 0
		for rest := c.Data; ; {
			text, after, found := bytes.Cut(rest, []byte("\n"))
			if !found {
				if c.Last && len(rest) > 0 {
					f.got = append(f.got, string(rest)+"(cut)")
					used += len(rest)
				}
				break
			}
			f.got = append(f.got, string(text))
			used += len(text) + 1
			rest = after
		}
		if want := c.Place(used); used < len(c.Data) || !c.Last {
			f.reader.Use(&c, used)
			if got := f.reader.Place(); got != want {
				f.t.Errorf("place %+v of the reader, %+v of the chunk", got, want)
			}
			return true
		}
		f.reader.Use(&c, used)
	}
	return true
}

// drain steps until there is nothing more now.
func (f *follower) drain() {
	f.t.Helper()
	for range 10_000 {
		if !f.step() {
			return
		}
	}
	f.t.Fatal("no end after 10000 steps")
}

// want checks that exactly the lines from first to last, and what else is given,
// have come since the last call.
func (f *follower) want(want ...any) {
	f.t.Helper()
	var lines []string
	for i := 0; i < len(want); i++ {
		switch v := want[i].(type) {
		case int:
			for n := v; n <= want[i+1].(int); n++ {
				lines = append(lines, line(n))
			}
			i++
		case string:
			lines = append(lines, v)
		}
	}
	if !slices.Equal(f.got, lines) {
		f.t.Errorf("got\n%s\nwant\n%s", brief(f.got), brief(lines))
	}
	f.got = f.got[:0]
}

func brief(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString("  " + l[:min(len(l), 30)] + "\n")
	}
	return b.String()
}

func newTest(t *testing.T) (*writer, *follower) {
	w := newWriter(t, t.TempDir())
	f := follow(t, w)
	t.Cleanup(func() {
		f.reader.Close()
		w.close()
	})
	return w, f
}
