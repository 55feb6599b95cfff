package file

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"log_capturer/internal/glob"
	"log_capturer/internal/health"
	"log_capturer/internal/record"
)

// Files that are there are read, and those that come, each from its beginning.
func TestCapture(t *testing.T) {
	for name, noWatch := range map[string]bool{"watched": false, "polled": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 1)
			r.opts.NoWatch = noWatch
			r.write("a.log", "one\ntwo\n")
			r.write("other.txt", "no\n")
			r.start()
			r.want("a.log", "one", "two")
			r.write("b.log", "new\n")
			r.want("b.log", "new")
			r.write("a.log", "thr")
			r.write("a.log", "ee\n\xff\xfe\x00bytes\r\n\n")
			r.want("a.log", "one", "two", "three", "\xff\xfe\x00bytes\r", "")
			// The counts follow the handing over.
			r.eventually("the state of a.log is right", func() bool {
				f, ok := r.file("a.log")
				return ok && f.Records == 5 && f.Bytes == 20 && f.Gaps == 0 && f.Watched != noWatch && f.State == stateIdle
			})
			if _, ok := r.file("other.txt"); ok {
				t.Error("other.txt is captured")
			}
			if h := r.monitor.Health(); h[0].Status != health.Healthy {
				t.Errorf("health %+v", h)
			}
		})
	}
}

// A restart goes on where the sinks stand, also over rotations meanwhile.
func TestRestart(t *testing.T) {
	r := newRig(t, 1)
	r.write("a.log", "1\n2\n")
	r.start()
	r.want("a.log", "1", "2")
	r.restart()
	r.write("a.log", "3\n")
	r.want("a.log", "1", "2", "3")
	r.stop()
	r.write("a.log", "4\n")
	must(t, os.Rename(r.path("a.log"), r.path("a.log.1")))
	r.write("a.log", "5\n")
	must(t, os.Rename(r.path("a.log.1"), r.path("a.log.2")))
	must(t, os.Rename(r.path("a.log"), r.path("a.log.1")))
	r.write("a.log", "6\n")
	r.start()
	r.want("a.log", "1", "2", "3", "4", "5", "6")
	if f, _ := r.file("a.log"); f.Gaps != 0 {
		t.Errorf("%d gaps", f.Gaps)
	}
}

// Sinks that stand in different places each get every line once.
func TestSinksApart(t *testing.T) {
	r := newRig(t, 2)
	r.write("a.log", "1\n2\n")
	r.sink.held[0] = true
	r.start()
	key := "file/" + r.path("a.log")
	reached := func(i int, n uint64) func() bool {
		return func() bool {
			r.sink.mu.Lock()
			defer r.sink.mu.Unlock()
			return r.sink.cursors[i][key].Streams[record.Stdout].Seq == n
		}
	}
	r.eventually("the second sink has both lines", reached(1, 2))
	r.stop()
	r.sink.held[0] = false
	r.write("a.log", "3\n")
	r.start()
	r.eventually("the second sink has the third line", reached(1, 3))
	r.want("a.log", "1", "2", "3")
}

func TestStartAt(t *testing.T) {
	f := func(name string, change func(*Files), oldLines bool) {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 1)
			change(&r.opts.Files[0])
			r.write("a.log", "old\nopen")
			hourAgo := time.Now().Add(-time.Hour)
			must(t, os.Chtimes(r.path("a.log"), hourAgo, hourAgo))
			r.start()
			// What appears later is read from its beginning, whatever it is.
			r.write("b.log", "b1\n")
			r.want("b.log", "b1")
			r.restart() // which is not the first look at a.log any more
			r.write("a.log", " end\nnew\n")
			want := []string{"open end", "new"}
			if oldLines {
				want = append([]string{"old"}, want...)
			}
			r.want("a.log", want...)
		})
	}
	f("beginning", func(*Files) {}, true)
	f("end", func(f *Files) { f.StartAtEnd = true }, false)
	f("two hours", func(f *Files) { f.StartAge = 2 * time.Hour }, true)
	f("half an hour", func(f *Files) { f.StartAge = 30 * time.Minute }, false)
}

// Labels come from the configuration and from parts of the path.
func TestLabels(t *testing.T) {
	r := newRig(t, 1)
	set := files(t, r.dir+"/{app}/{env}-*/*.log")
	set.Labels = map[string]string{"team": "red"}
	r.opts.Files = []Files{set, files(t, r.dir+"/**/*.log")}
	exclude, err := glob.CompileExclude("debug*")
	must(t, err)
	for i := range r.opts.Files {
		r.opts.Files[i].Exclude = []*glob.Pattern{exclude}
	}
	r.write("shop/prod-1/a.log", "a\n")
	r.write("shop/prod-1/debug.log", "no\n")
	r.write("x/y/z/b.log", "b\n")
	r.start()
	r.want("shop/prod-1/a.log", "a")
	r.want("x/y/z/b.log", "b")
	r.write("late/test-2/c.log", "c\n")
	r.want("late/test-2/c.log", "c")
	labels := func(name string) string {
		r.sink.mu.Lock()
		defer r.sink.mu.Unlock()
		s := r.sink.sources["file/"+r.path(name)]
		if s.FilePath != r.path(name) || s.Host != "node-1" {
			t.Errorf("source %+v", s)
		}
		return fmt.Sprint(s.Labels)
	}
	for name, want := range map[string]string{
		"shop/prod-1/a.log": "map[app:shop env:prod team:red]", "late/test-2/c.log": "map[app:late env:test team:red]", "x/y/z/b.log": "map[]",
	} {
		if got := labels(name); got != want {
			t.Errorf("labels of %s: %s, want %s", name, got, want)
		}
	}
	if _, ok := r.file("shop/prod-1/debug.log"); ok {
		t.Error("an excluded file is captured")
	}
}

// What a file was rotated to, what is compressed, and the agent's own files are
// no logs of their own.
func TestNoLogs(t *testing.T) {
	r := newRig(t, 1)
	r.opts.Files = []Files{files(t, r.dir+"/**/*.log*")}
	r.opts.Own = r.path("own")
	r.write("a.log", "a\n")
	r.write("a.log.1", "no\n")
	hourAgo := time.Now().Add(-time.Hour)
	r.write("a-20240131.log", "no\n")
	for _, name := range []string{"a.log.1", "a-20240131.log"} {
		must(t, os.Chtimes(r.path(name), hourAgo, hourAgo))
	}
	r.write("b.log.1.gz", "no\n")
	r.write("own/c.log", "no\n")
	must(t, os.Symlink("a.log", r.path("z.log")))
	r.write("c.log.1", "yes: there is no c.log\n")
	r.start()
	r.want("a.log", "a")
	r.want("c.log.1", "yes: there is no c.log")
	var paths []string
	for _, f := range r.monitor.Files() {
		paths = append(paths, strings.TrimPrefix(f.Path, r.dir))
	}
	if got := strings.Join(paths, " "); got != "/a.log /c.log.1" {
		t.Errorf("captured %s", got)
	}
}

// An entry of the CRI that comes in parts is one line, and the pod is known from
// the path.
func TestCRI(t *testing.T) {
	r := newRig(t, 1)
	r.opts.Files = []Files{files(t, r.dir+"/pods/*/*/*.log")}
	const name = "pods/shop_web-1_0a1b/nginx/0.log"
	entry := func(stream, tag, text string) string {
		return "2024-01-31T10:00:00.000000001Z " + stream + " " + tag + " " + text + "\n"
	}
	r.write(name, entry("stdout", "P", "a")+entry("stderr", "F", "e")+entry("stdout", "P", "b"))
	r.start()
	r.want(name, "e")
	// The restart reads again from where the open line begins.
	r.restart()
	must(t, os.Rename(r.path(name), r.path(name+".20240131-100000")))
	r.write(name, entry("stdout", "F", "c")+entry("stdout", "F", "d")+entry("stderr", "P", "open"))
	r.want(name, "e", "abc", "d")
	must(t, os.Remove(r.path(name)))
	r.want(name, "e", "abc", "d", "open")
	r.sink.mu.Lock()
	defer r.sink.mu.Unlock()
	key := "file/" + r.path(name)
	if want := []string{"stderr e", "stdout abc", "stdout d", "stderr,unterminated open"}; !slices.Equal(r.sink.marks[key], want) {
		t.Errorf("lines %q, want %q", r.sink.marks[key], want)
	}
	s := r.sink.sources[key]
	if s.Namespace != "shop" || s.Pod != "web-1" || s.PodUID != "0a1b" || s.ContainerName != "nginx" {
		t.Errorf("source %+v", s)
	}
}

func TestDescribePod(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	f := func(path, want string) {
		t.Helper()
		s := describe(path, "h", nil)
		if got := fmt.Sprintf("%s/%s/%s/%s/%.4s", s.Namespace, s.Pod, s.PodUID, s.ContainerName, s.ContainerID); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	f("/var/log/pods/ns_pod-1_uid/web/3.log", "ns/pod-1/uid/web/")
	f("/var/log/pods/ns_pod-1/web/3.log", "////")
	f("/var/log/containers/pod-1_ns_my-web-"+id+".log", "ns/pod-1//my-web/0123")
	f("/var/log/containers/pod-1_ns_web-0123.log", "////")
	f("/var/log/app.log", "////")
}

// A long line is cut into marked records, and no byte of it is lost over a
// restart in its middle.
func TestLongLine(t *testing.T) {
	r := newRig(t, 1)
	r.opts.MaxLineBytes = 100_000
	long := strings.Repeat("0123456789", 33_000)
	r.write("a.log", "first\n"+long[:150_000])
	r.start()
	r.eventually("the first part", func() bool { return len(r.sink.got(r.path("a.log"))) == 2 })
	r.restart()
	r.write("a.log", long[150_000:]+"\nlast\n")
	r.eventually("all parts", func() bool { return len(r.sink.got(r.path("a.log"))) >= 6 })
	got := r.sink.got(r.path("a.log"))
	if len(got) != 6 || strings.Join(got[1:5], "") != long || got[5] != "last" {
		t.Errorf("%d lines, %d bytes", len(got), len(strings.Join(got, "")))
	}
	r.sink.mu.Lock()
	defer r.sink.mu.Unlock()
	var marks []string
	for _, m := range r.sink.marks["file/"+r.path("a.log")] {
		marks = append(marks, m[:strings.IndexByte(m, ' ')])
	}
	want := []string{"stdout", "stdout,cut", "stdout,cut,continued", "stdout,cut,continued", "stdout,continued", "stdout"}
	if !slices.Equal(marks, want) {
		t.Errorf("marks %q, want %q", marks, want)
	}
}

// The last line of a file that is gone is a record although it has no end.
func TestRemoved(t *testing.T) {
	r := newRig(t, 1)
	r.write("a.log", "one\ntw")
	r.start()
	r.want("a.log", "one")
	must(t, os.Remove(r.path("a.log")))
	r.want("a.log", "one", "tw")
	r.eventually("it is shown as gone", func() bool {
		f, _ := r.file("a.log")
		return f.State == stateGone
	})
	r.write("a.log", "again\n")
	r.want("a.log", "one", "tw", "again")
	r.eventually("it is shown as read", func() bool {
		f, _ := r.file("a.log")
		return f.State == stateIdle && f.Gaps == 0
	})
}

// A truncation without a copy is a suspected gap.
func TestSuspectedGap(t *testing.T) {
	r := newRig(t, 1)
	r.write("a.log", "one\ntwo\nthree\n")
	r.start()
	r.want("a.log", "one", "two", "three")
	must(t, os.Truncate(r.path("a.log"), 0))
	r.write("a.log", "x\n")
	r.want("a.log", "one", "two", "three", "x")
	if f, _ := r.file("a.log"); f.Gaps != 1 {
		t.Errorf("%d gaps, want 1", f.Gaps)
	}
	r.restart()
	r.write("a.log", "y\n")
	r.want("a.log", "one", "two", "three", "x", "y")
	if f, _ := r.file("a.log"); f.Gaps != 0 {
		t.Errorf("%d gaps after the restart", f.Gaps)
	}
	r.sink.mu.Lock()
	defer r.sink.mu.Unlock()
	c := r.sink.cursors[0]["file/"+r.path("a.log")]
	if c.Streams[record.Stdout].Seq != 5 || c.Place.Seqs[record.Stdout] != 5 || c.Place.Offset != 4 {
		t.Errorf("cursor %+v", c)
	}
}

// When all is gone that a position knows of, what is there is read, and no sink
// takes it for what it has.
func TestLostPosition(t *testing.T) {
	r := newRig(t, 2)
	r.write("a.log", "one\ntwo\nthree\n")
	r.start()
	r.want("a.log", "one", "two", "three")
	r.stop()
	must(t, os.Remove(r.path("a.log")))
	r.write("a.log", "1\n2\n")
	r.start()
	r.want("a.log", "one", "two", "three", "1", "2")
	if f, _ := r.file("a.log"); f.Gaps != 1 {
		t.Errorf("%d gaps, want 1", f.Gaps)
	}
}

// What a dispatcher did not take is read again.
func TestRefusedBatch(t *testing.T) {
	r := newRig(t, 1)
	r.sink.refuse = errors.New("the disk is full")
	r.write("a.log", "one\ntwo\n")
	r.start()
	r.want("a.log", "one", "two")
}

// A file that can't be followed is said to be, and is when it can.
func TestUnreadable(t *testing.T) {
	r := newRig(t, 1)
	r.sink.resumeError = errors.New("the journal is broken")
	r.write("a.log", "one\n")
	r.start()
	if h := r.monitor.Health()[0]; h.Status != health.Degraded || !strings.Contains(h.Reason, "1 files can't be read") || !strings.Contains(h.Reason, "the journal is broken") {
		t.Errorf("health %+v", h)
	}
	if f, _ := r.file("a.log"); f.State != stateError || !strings.Contains(f.Reason, "the journal is broken") {
		t.Errorf("state %+v", f)
	}
	r.sink.mu.Lock()
	r.sink.resumeError = nil
	r.sink.mu.Unlock()
	r.want("a.log", "one")
	if h := r.monitor.Health()[0]; h.Status != health.Healthy {
		t.Errorf("health %+v", h)
	}
}

// What a followed file was renamed to is no new file, also after the reading has
// gone on to the next one; another file of that name is.
func TestRenamedIsNotNew(t *testing.T) {
	r := newRig(t, 1)
	m := New(r.opts)
	r.write("a.log", "a\n")
	if _, isNew := m.isNew(r.path("a.log"), m.inodes()); !isNew {
		t.Error("a.log is not new")
	}
	info, err := os.Stat(r.path("a.log"))
	must(t, err)
	s := &source{path: r.path("a.log")}
	s.inode.Store(info.Sys().(*syscall.Stat_t).Ino)
	s.device.Store(info.Sys().(*syscall.Stat_t).Dev)
	m.table[s.path] = s
	must(t, os.Rename(s.path, r.path("old.log")))
	isNew := func() bool {
		_, is := m.isNew(r.path("old.log"), m.inodes())
		return is
	}
	if isNew() {
		t.Error("old.log is new while it is followed")
	}
	s.inode.Store(1)
	if isNew() {
		t.Error("old.log is new after it was followed")
	}
	r.write("another.log", "b\n")
	must(t, os.Rename(r.path("another.log"), r.path("old.log")))
	if !isNew() {
		t.Error("another file of that name is not new")
	}
}

// Positions of files that do not come again are forgotten.
func TestForget(t *testing.T) {
	r := newRig(t, 1)
	r.opts.PositionRetention = 0
	r.write("a.log", "one\n")
	r.start()
	r.want("a.log", "one")
	r.stop()
	must(t, os.Remove(r.path("a.log")))
	r.sink.cursors[0]["container/x"] = record.Cursor{}
	r.start()
	r.eventually("it is forgotten", func() bool {
		r.sink.mu.Lock()
		defer r.sink.mu.Unlock()
		return len(r.sink.forgot) > 0
	})
	if want := []string{"file/" + r.path("a.log")}; !slices.Equal(r.sink.forgot, want) {
		t.Errorf("forgot %q, want %q", r.sink.forgot, want)
	}
}

// A thousand files need few open ones, and each line comes once.
func TestManyFiles(t *testing.T) {
	r := newRig(t, 1)
	const many = 1000
	r.opts.MaxOpenFiles = 64
	for i := range many {
		r.write(fmt.Sprintf("%04d.log", i), "one\n")
	}
	r.start()
	all := func(n int) func() bool {
		return func() bool {
			r.sink.mu.Lock()
			defer r.sink.mu.Unlock()
			lines := 0
			for _, got := range r.sink.lines {
				lines += len(got)
			}
			return lines >= n
		}
	}
	r.eventually("a line of each", all(many))
	for i := range many {
		r.write(fmt.Sprintf("%04d.log", i), "two\n")
	}
	r.eventually("two lines of each", all(2*many))
	for i := range many {
		r.want(fmt.Sprintf("%04d.log", i), "one", "two")
	}
	if open := r.monitor.set.Open(); open > 64 {
		t.Errorf("%d files are open", open)
	}
	if r.monitor.set.Closed() == 0 {
		t.Error("no file was closed")
	}
	r.eventually("all are idle, without gaps", func() bool {
		list := r.monitor.Files()
		return len(list) == many && !slices.ContainsFunc(list, func(f File) bool { return f.State != stateIdle || f.Gaps != 0 })
	})
}
