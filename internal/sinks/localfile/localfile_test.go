package localfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"log_capturer/internal/health"
	"log_capturer/internal/positions"
	"log_capturer/internal/record"
)

var _ Journal = (*positions.Journal)(nil)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// wantLines compares the lines of one file in JSON format.
func (w *world) wantLines(name string, want ...string) {
	w.t.Helper()
	if got := textOf(w.t, w.contents()[name]); !slices.Equal(got, want) {
		w.t.Fatalf("%s has %q, want %q", name, got, want)
	}
}

func (w *world) wantHealth(status health.Status, reason string) {
	w.t.Helper()
	c := w.sink.Health()
	if len(c) != 1 || c[0].Name != "sink/files/files" || c[0].Status != status ||
		!strings.Contains(c[0].Reason, reason) || (reason == "") != (c[0].Reason == "") {
		w.t.Fatalf("health is %+v, want %v, %q", c, status, reason)
	}
}

func TestRecordsGoToTheFilesOfTheirPath(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.Path = "{data_dir}/{container_name}/{stream}-{date}.log"
		o.Format = FormatText
	})
	s := w.start(nil)
	defer w.stop()
	web, db := container("web"), container("db")
	b := lines(web, time.Date(2026, 3, 4, 23, 59, 58, 0, time.UTC), "1", "2", "3", "4")
	b.Append(record.Record{Time: noon.UnixNano(), Stream: record.Stderr}, []byte("error"))
	w.mustDeliver(b, lines(db, noon, "5"))

	got := w.contents()
	for name, want := range map[string]string{
		"web/stdout-2026-03-04.log": "1\n2\n",
		"web/stdout-2026-03-05.log": "3\n4\n",
		"web/stderr-2026-03-04.log": "error\n",
		"db/stdout-2026-03-04.log":  "5\n",
	} {
		if got[name] != want {
			t.Errorf("%s has %q, want %q", name, got[name], want)
		}
	}
	if len(got) != 4 {
		t.Errorf("files %q", w.names())
	}
	if a, b := s.Group(web, record.Stdout), s.Group(web, record.Stderr); a == b {
		t.Errorf("both streams have the group %q", a)
	}
	if a, b := s.Group(web, record.Stdout), s.Group(db, record.Stdout); a == b {
		t.Errorf("both containers have the group %q", a)
	}
	for path, want := range map[string]os.FileMode{"web": os.ModeDir | 0o750, "web/stderr-2026-03-04.log": 0o640} {
		info, err := os.Stat(filepath.Join(w.dir, path))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
}

func TestPartsSelectRecords(t *testing.T) {
	w := newWorld(t, nil)
	w.start(nil)
	defer w.stop()
	b := lines(container("web"), noon, "0", "1", "2", "3")
	b.Append(record.Record{Stream: record.Stderr}, []byte("4"))
	b.Append(record.Record{}, []byte("5"))
	req := request(b)
	req.Parts[0].From, req.Parts[0].Streams = 2, record.Only(record.Stdout)
	if err := w.sink.Send(context.Background(), req); err != nil {
		t.Fatal(err)
	}
	w.wantLines("web.log", "2", "3", "5")
}

func TestAnAttemptThatWasNotCommittedIsNotRepeated(t *testing.T) {
	w := newWorld(t, nil)
	w.start(nil)
	defer w.stop()
	src := container("web")
	w.mustDeliver(lines(src, noon, "1"))
	for range 3 {
		if err := w.sink.Send(context.Background(), request(lines(src, noon, "2", "3"))); err != nil {
			t.Fatal(err)
		}
	}
	w.wantLines("web.log", "1", "2", "3")
	w.mustDeliver(lines(src, noon, "2", "3"))
	w.wantLines("web.log", "1", "2", "3")
	w.start(nil)
	w.wantLines("web.log", "1", "2", "3")
	w.wantHealth(health.Healthy, "")
}

func TestSendStopsWhenItsContextIsDone(t *testing.T) {
	w := newWorld(t, nil)
	w.start(nil)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.sink.Send(ctx, request(lines(container("web"), noon, "1"))); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	w.wantNames()
}

func TestAFullDiskIsReportedUntilAWriteSucceeds(t *testing.T) {
	w := newWorld(t, nil)
	f := &fault{}
	w.start(f)
	defer w.stop()
	src := container("web")
	w.mustDeliver(lines(src, noon, "1"))
	w.wantHealth(health.Healthy, "")
	f.at, f.applied = f.count+2, true // the write, after a stat
	err := w.deliver(lines(src, noon, "2", "3"))
	if !errors.Is(err, syscall.ENOSPC) || f.hit != "write" {
		t.Fatalf("got %v at %q", err, f.hit)
	}
	w.wantHealth(health.Unhealthy, "the disk is full; make room")
	w.wantLines("web.log", "1")
	w.mustDeliver(lines(src, noon, "2", "3"))
	w.wantHealth(health.Healthy, "")
	w.wantLines("web.log", "1", "2", "3")
}

func TestAFileIsCutBackAtTheStart(t *testing.T) {
	w := newWorld(t, nil)
	w.start(nil)
	defer w.stop()
	w.mustDeliver(lines(container("web"), noon, "1"))
	path := filepath.Join(w.dir, "web.log")
	appendTo(t, path, `{"torn`)
	w.start(nil)
	w.wantLines("web.log", "1")
	w.wantHealth(health.Healthy, "")
	if got := w.sink.counters.cut.Load(); got != 6 {
		t.Errorf("%d bytes cut, want 6", got)
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// What others do to a file is reported, and costs no line that comes after.
func TestFilesThatOthersChanged(t *testing.T) {
	f := func(name string, change func(path string) error, want ...string) {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restart %v", name, restart), func(t *testing.T) {
				w := newWorld(t, nil)
				w.start(nil)
				defer w.stop()
				src := container("web")
				w.mustDeliver(lines(src, noon, "1", "2"))
				if restart {
					w.stop()
				}
				if err := change(filepath.Join(w.dir, "web.log")); err != nil {
					t.Fatal(err)
				}
				if restart {
					w.start(nil)
				}
				w.mustDeliver(lines(src, noon, "3"))
				w.wantHealth(health.Degraded, "another program has removed or changed 1 files")
				w.mustDeliver(lines(src, noon, "4"))
				w.start(nil)
				w.wantLines("web.log", want...)
				w.wantHealth(health.Healthy, "")
			})
		}
	}
	f("removed", os.Remove, "3", "4")
	f("truncated", func(path string) error { return os.Truncate(path, 0) }, "3", "4")
	f("renamed", func(path string) error { return os.Rename(path, path+".1") }, "3", "4")
	f("replaced", func(path string) error {
		return errors.Join(os.WriteFile(path+".new", []byte(`{"line":"mine"}`), 0o600), os.Rename(path+".new", path))
	}, "mine", "3", "4")
}

func TestHealthForgetsWhatOthersChanged(t *testing.T) {
	w := newWorld(t, nil)
	w.start(nil)
	defer w.stop()
	w.mustDeliver(lines(container("web"), noon, "1"))
	appendTo(t, filepath.Join(w.dir, "web.log"), "{}\n")
	w.mustDeliver(lines(container("web"), noon, "2"))
	w.wantHealth(health.Degraded, "changed 1 files")
	w.wantLines("web.log", "1", "", "2")
	w.clock = w.clock.Add(troubleTime)
	w.wantHealth(health.Healthy, "")
}

func TestAFileThatWasThereIsTakenOver(t *testing.T) {
	w := newWorld(t, nil)
	if err := os.WriteFile(filepath.Join(w.dir, "web.log"), []byte(`{"line":"old"}`), 0o640); err != nil {
		t.Fatal(err)
	}
	w.start(nil)
	defer w.stop()
	w.mustDeliver(lines(container("web"), noon, "1"))
	w.start(nil)
	w.wantLines("web.log", "old", "1")
	w.wantHealth(health.Healthy, "")
}

func TestOpenFilesAreBounded(t *testing.T) {
	w := newWorld(t, nil)
	s := w.start(nil)
	defer w.stop()
	s.maxOpen = 3
	for round := range 3 {
		for i := range 10 {
			w.mustDeliver(lines(container(fmt.Sprint(i)), noon, fmt.Sprint(round)))
			if n := s.open.Len(); n > 3 {
				t.Fatalf("%d files open", n)
			}
		}
	}
	var all []*record.Batch
	for i := range 10 {
		all = append(all, lines(container(fmt.Sprint(i)), noon, "3"))
	}
	w.mustDeliver(all...)
	for i := range 10 {
		w.wantLines(fmt.Sprintf("%d.log", i), "0", "1", "2", "3")
	}
	if err := w.journal.sync(); err != nil {
		t.Fatal(err)
	}
	if n := s.open.Len(); n != 3 {
		t.Errorf("%d files open, want 3", n)
	}
	w.clock = w.clock.Add(idleTime)
	s.maintain(context.Background())
	if n := s.open.Len(); n != 0 {
		t.Errorf("%d files open after %v, want none", n, idleTime)
	}
}

func TestKeptBuffersAreBounded(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Path = "{data_dir}/{container_name}-{hour}.log" })
	s := w.start(nil)
	defer w.stop()
	b := record.NewBatch(container("web"), 1<<20)
	for h := range 20 {
		b.Append(record.Record{Time: noon.Add(time.Duration(h) * time.Hour).UnixNano()}, []byte("x"))
	}
	w.mustDeliver(b)
	if s.writes != nil {
		t.Errorf("%d buffers kept", cap(s.writes))
	}
	b = record.NewBatch(container("web"), 1<<20)
	b.Append(record.Record{}, make([]byte, maxKeptBytes))
	w.mustDeliver(b)
	if n := cap(s.writes[:1][0].data); n != 0 {
		t.Errorf("a buffer of %d bytes kept", n)
	}
}

func TestSourcesAreBounded(t *testing.T) {
	w := newWorld(t, nil)
	s := w.start(nil)
	for range 2*maxSources + 10 {
		s.Group(container("web"), record.Stdout)
	}
	n := 0
	s.sources.infos.Range(func(any, any) bool { n++; return true })
	if n > maxSources {
		t.Errorf("%d sources kept", n)
	}
}

// recordingFS says what was synced.
type recordingFS struct {
	fileSystem
	synced *[]string
	err    *error
}

func (f recordingFS) OpenFile(name string, flag int, perm os.FileMode) (handle, error) {
	h, err := f.fileSystem.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return recordingHandle{h, name, f}, nil
}

type recordingHandle struct {
	handle
	name string
	fs   recordingFS
}

func (h recordingHandle) Sync() error {
	*h.fs.synced = append(*h.fs.synced, filepath.Base(h.name))
	return *h.fs.err
}

func TestFilesAreSyncedBeforeTheJournal(t *testing.T) {
	w := newWorld(t, nil)
	s := w.start(nil)
	defer w.stop()
	var synced []string
	var failure error
	fs := recordingFS{osFileSystem{}, &synced, &failure}
	s.fs, s.unsynced.fs = fs, fs
	sync := func(want ...string) error {
		t.Helper()
		synced = nil
		err := w.journal.sync()
		slices.Sort(synced)
		if !slices.Equal(synced, want) {
			t.Errorf("synced %q, want %q", synced, want)
		}
		return err
	}
	dir := filepath.Base(w.dir)
	w.mustDeliver(lines(container("a"), noon, "1"), lines(container("b"), noon, "1"))
	_ = sync(dir, "a.log", "b.log")
	_ = sync()
	w.mustDeliver(lines(container("b"), noon, "2"))
	failure = syscall.EIO
	if err := sync("b.log"); !errors.Is(err, syscall.EIO) {
		t.Errorf("got %v", err)
	}
	w.wantHealth(health.Degraded, "the disk reports an error")
	failure = nil
	if err := sync("b.log"); err != nil {
		t.Error(err)
	}
	w.wantHealth(health.Healthy, "")
	// A file that was rotated before the sync is synced by its new name.
	w.mustDeliver(lines(container("a"), noon, "2"))
	s.mu.Lock()
	err := s.rotate(s.active[filepath.Join(w.dir, "a.log")])
	s.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	_ = sync(dir, "a-20260304T050607Z-0001.log")
	// What the process before has written may not be synced.
	s = w.start(nil)
	s.fs, s.unsynced.fs = fs, fs
	_ = sync(dir, "a-20260304T050607Z-0001.log", "b.log")
}

// A file that is renamed while a sync is under way is in the set again by its
// new name, and synced before the journal is.
func TestASyncFollowsARename(t *testing.T) {
	w := newWorld(t, nil)
	s := w.start(nil)
	defer w.stop()
	w.mustDeliver(lines(container("a"), noon, "1"))
	s.unsynced.take()
	s.unsynced.add(filepath.Join(w.dir, "before.log"))
	var synced []string
	s.unsynced.fs = renamingFS{recordingFS{osFileSystem{}, &synced, new(error)}, func() {
		s.unsynced.add(filepath.Join(w.dir, "a.log"))
	}}
	if err := w.journal.sync(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(synced, []string{"a.log"}) {
		t.Errorf("synced %q", synced)
	}
}

// renamingFS tells when a file was not there.
type renamingFS struct {
	recordingFS
	absent func()
}

func (f renamingFS) OpenFile(name string, flag int, perm os.FileMode) (handle, error) {
	h, err := f.recordingFS.OpenFile(name, flag, perm)
	if err != nil {
		f.absent()
	}
	return h, err
}

func TestRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *Options) {
			o.Rotate.MaxAge = time.Hour
			o.Compress = Gzip
		})
		w.start(nil)
		w.sink.now = time.Now
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- w.sink.Run(ctx) }()
		synctest.Wait()
		w.mustDeliver(lines(container("web"), noon, "1"))
		time.Sleep(idleTime + maintenanceInterval)
		synctest.Wait()
		if n := w.sink.open.Len(); n != 0 {
			t.Errorf("%d files open", n)
		}
		w.wantNames("web.log")
		time.Sleep(time.Hour)
		synctest.Wait()
		w.wantNames("web-20000101T010000Z-0001.log.gz")
		w.mustDeliver(lines(container("web"), noon, "2"))
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := w.sink.open.Len(); n != 0 {
			t.Errorf("%d files open", n)
		}
	})
}

func TestMetrics(t *testing.T) {
	w := newWorld(t, nil)
	w.start(nil)
	defer w.stop()
	w.mustDeliver(lines(container("web"), noon, "1"))
	problems, err := testutil.CollectAndLint(w.sink)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	size := len(w.contents()["web.log"])
	want := fmt.Sprintf(`
# HELP log_capturer_local_file_open_files Files that are held open.
# TYPE log_capturer_local_file_open_files gauge
log_capturer_local_file_open_files{sink="files"} 1
# HELP log_capturer_local_file_written_bytes_total Bytes appended to files.
# TYPE log_capturer_local_file_written_bytes_total counter
log_capturer_local_file_written_bytes_total{sink="files"} %d
`, size)
	err = testutil.CollectAndCompare(w.sink, strings.NewReader(want),
		"log_capturer_local_file_open_files", "log_capturer_local_file_written_bytes_total")
	if err != nil {
		t.Error(err)
	}
}

func TestBadOptions(t *testing.T) {
	f := func(change func(*Options), want string) {
		t.Helper()
		o := newWorld(t, change).opts
		o.Journal = newJournal()
		if _, err := New(o); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	f(func(o *Options) { o.Format = "xml" }, `local_file sink "files": unknown format "xml"; use json or text`)
	f(func(o *Options) { o.Compress = "xz" }, `local_file sink "files": unknown compression "xz"; use zstd, gzip or none`)
	f(func(o *Options) { o.Path = "{pods}" }, `local_file sink "files": compile template "{pods}": `+
		`unknown placeholder {pods}; did you mean {pod}?`)
}

func TestEntriesOfAnotherVersionAreLeftAlone(t *testing.T) {
	w := newWorld(t, nil)
	w.start(nil)
	defer w.stop()
	w.mustDeliver(lines(container("web"), noon, "1"))
	path := filepath.Join(w.dir, "web.log")
	if err := w.journal.Commit(positions.Change{Key: "file/files/" + path, Value: []byte{99}}); err != nil {
		t.Fatal(err)
	}
	w.start(nil)
	w.wantHealth(health.Degraded, "version 99 is not known")
	w.wantLines("web.log", "1")
	w.mustDeliver(lines(container("web"), noon, "2"))
	w.wantLines("web.log", "1", "2")
}

func BenchmarkSend(b *testing.B) {
	w := newWorld(b, nil)
	w.start(nil)
	defer w.stop()
	src := container("web")
	batch := record.NewBatch(src, 1<<20)
	line := []byte(strings.Repeat("the quick brown fox ", 10))
	for i := range 4096 {
		batch.Append(record.Record{Time: noon.UnixNano() + int64(i)}, line)
	}
	req := request(batch)
	b.ReportAllocs()
	b.SetBytes(int64(batch.LineBytes()))
	for b.Loop() {
		req.Changes = req.Changes[:0]
		if err := w.sink.Send(context.Background(), req); err != nil {
			b.Fatal(err)
		}
		// Not committed, so that the next attempt cuts it off again.
	}
	b.ReportMetric(float64(len(batch.Records))*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
