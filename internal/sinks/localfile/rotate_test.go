package localfile

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"log_capturer/internal/health"
)

func TestRotationBySize(t *testing.T) {
	for _, method := range []Compression{Zstd, Gzip, None} {
		t.Run(string(method), func(t *testing.T) {
			w := newWorld(t, func(o *Options) { o.Rotate.MaxBytes, o.Compress = 700, method })
			w.start(nil)
			defer w.stop()
			src := container("web")
			w.mustDeliver(lines(src, noon, "1"))
			w.mustDeliver(lines(src, noon, "2"))
			w.mustDeliver(lines(src, noon, "3")) // would be over 700
			w.clock = w.clock.Add(time.Second)
			w.mustDeliver(lines(src, noon, "4", "5", "6")) // is over by itself
			w.mustDeliver(lines(src, noon, "7"))
			w.sink.maintain(context.Background())
			one := "web-20260304T050607Z-0001.log" + method.extension()
			two := "web-20260304T050608Z-0001.log" + method.extension()
			three := "web-20260304T050608Z-0002.log" + method.extension()
			w.wantNames(one, two, three, "web.log")
			w.wantLines(one, "1", "2")
			w.wantLines(two, "3")
			w.wantLines(three, "4", "5", "6")
			w.wantLines("web.log", "7")
			w.start(nil)
			w.wantNames(one, two, three, "web.log")
			w.wantHealth(health.Healthy, "")
			info, err := os.Stat(filepath.Join(w.dir, one))
			if err != nil || info.Mode() != 0o640 {
				t.Errorf("%v, %v", info.Mode(), err)
			}
		})
	}
}

func TestRotationByAge(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Rotate.MaxAge = time.Hour })
	w.start(nil)
	defer w.stop()
	src := container("web")
	w.mustDeliver(lines(src, noon, "1"))
	w.clock = w.clock.Add(time.Hour - 1)
	w.mustDeliver(lines(src, noon, "2"))
	w.sink.maintain(context.Background())
	w.wantNames("web.log")
	w.clock = w.clock.Add(1)
	w.mustDeliver(lines(src, noon, "3"))
	w.wantNames("web-20260304T060607Z-0001.log", "web.log")
	w.wantLines("web.log", "3")
	// The age outlives the process, and counts for a file that nobody writes to.
	w.start(nil)
	w.clock = w.clock.Add(time.Hour)
	w.sink.maintain(context.Background())
	w.wantNames("web-20260304T060607Z-0001.log", "web-20260304T070607Z-0001.log")
}

func TestARequestThatIsNotCommittedHoldsUpRotation(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Rotate.MaxAge = time.Hour })
	w.start(nil)
	defer w.stop()
	src := container("web")
	w.mustDeliver(lines(src, noon, "1"))
	req := request(lines(src, noon, "2"))
	if err := w.sink.Send(context.Background(), req); err != nil {
		t.Fatal(err)
	}
	w.clock = w.clock.Add(2 * time.Hour)
	w.sink.maintain(context.Background())
	w.wantNames("web.log")
	if err := w.journal.Commit(req.Changes...); err != nil {
		t.Fatal(err)
	}
	w.sink.maintain(context.Background())
	w.wantNames("web-20260304T070607Z-0001.log")
	w.wantLines("web-20260304T070607Z-0001.log", "1", "2")
}

func TestAFileWhoseDayIsOverIsClosed(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Path = "{data_dir}/{date}/web.log" })
	w.start(nil)
	defer w.stop()
	src := container("web")
	w.clock = noon
	w.mustDeliver(lines(src, noon, "1"))
	f := func(after time.Duration, want string) {
		t.Helper()
		w.clock = noon.Add(after)
		w.sink.maintain(context.Background())
		w.wantNames(want)
	}
	f(12*time.Hour+lateness-1, "2026-03-04/web.log")
	w.mustDeliver(lines(src, noon, "late"))
	f(12*time.Hour+lateness, "2026-03-04/web.log")
	f(12*time.Hour+2*lateness, "2026-03-04/web-20260305T020000Z-0001.log")
}

func TestARotationDoesNotReplaceAFile(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Rotate.MaxBytes = 1 })
	w.start(nil)
	defer w.stop()
	mine := filepath.Join(w.dir, "web-20260304T050607Z-0001.log")
	for _, name := range []string{mine, strings.Replace(mine, "0001.log", "0002.log.zst", 1)} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.mustDeliver(lines(container("web"), noon, "1"))
	w.mustDeliver(lines(container("web"), noon, "2"))
	w.wantLines("web-20260304T050607Z-0003.log", "1")
}

func TestCompressionStopsWithItsContext(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Rotate.MaxBytes, o.Compress = 1, Zstd })
	w.start(nil)
	defer w.stop()
	w.mustDeliver(lines(container("web"), noon, "1"))
	w.mustDeliver(lines(container("web"), noon, "2"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	path, c, ok := w.sink.nextToCompress()
	if !ok {
		t.Fatal("nothing to compress")
	}
	if err := w.sink.compress(ctx, path, c); err == nil {
		t.Error("compressed")
	}
	w.wantNames("web-20260304T050607Z-0001.log", "web.log")
}

func TestExpired(t *testing.T) {
	now := time.Unix(1000, 0)
	closed := map[string]closedEntry{}
	for path, e := range map[string]struct {
		active      string
		length      int64
		last, close int64
	}{
		"a1": {"a", 10, 100, 101},
		"a2": {"a", 20, 200, 201},
		"a3": {"a", 30, 300, 301},
		"b1": {"b", 40, 150, 151},
		"b2": {"b", 50, 150, 401},
	} {
		closed[path] = closedEntry{active: e.active, length: e.length, last: e.last * 1e9, closed: e.close * 1e9}
	}
	f := func(limits Retention, want ...string) {
		t.Helper()
		if got := expired(closed, limits, now); !slices.Equal(got, want) {
			t.Errorf("%+v: %q, want %q", limits, got, want)
		}
	}
	f(Retention{})
	f(Retention{MaxFiles: 3})
	f(Retention{MaxFiles: 2}, "a1")
	f(Retention{MaxFiles: 1}, "a1", "b1", "a2")
	f(Retention{MaxAge: 901 * time.Second})
	f(Retention{MaxAge: 850 * time.Second}, "a1", "b1", "b2")
	f(Retention{MaxTotalBytes: 150})
	f(Retention{MaxTotalBytes: 149}, "a1")
	f(Retention{MaxTotalBytes: 80}, "a1", "b1", "a2")
	f(Retention{MaxTotalBytes: 1}, "a1", "b1", "a2", "a3", "b2")
	f(Retention{MaxFiles: 2, MaxTotalBytes: 140}, "a1")
}

func TestRetentionDeletesOnlyWhatTheSinkMade(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.Path = "{data_dir}/logs/{date}/{container_name}.log"
		o.Retention.MaxAge = 24 * time.Hour
	})
	w.clock = noon
	w.start(nil)
	defer w.stop()
	w.mustDeliver(lines(container("web"), noon, "1"), lines(container("db"), noon, "1"), lines(container("db"), noon.Add(48*time.Hour), "1"))
	mine := filepath.Join(w.dir, "logs/2026-03-04/web-20260304T050607Z-0001.log")
	if err := os.WriteFile(mine, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.clock = noon.Add(14 * time.Hour)
	w.sink.maintain(context.Background())
	// After a start, the time of the last write is the file's.
	if err := os.Chtimes(filepath.Join(w.dir, "logs/2026-03-06/db.log"), noon, noon); err != nil {
		t.Fatal(err)
	}
	w.start(nil)
	const day = "logs/2026-03-04/"
	w.wantNames(day+"db-20260305T020000Z-0001.log", day+"web-20260304T050607Z-0001.log",
		day+"web-20260305T020000Z-0001.log", "logs/2026-03-06/db.log")
	// A file that took the name of a closed one is not the sink's.
	taken := filepath.Join(w.dir, day+"db-20260305T020000Z-0001.log")
	if err := os.WriteFile(taken+".new", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(taken+".new", taken); err != nil {
		t.Fatal(err)
	}
	w.clock = noon.Add(24 * time.Hour)
	w.sink.maintain(context.Background())
	w.wantNames(day+"db-20260305T020000Z-0001.log", day+"web-20260304T050607Z-0001.log")
	if n := len(w.sink.closed); n != 0 {
		t.Errorf("%d closed files are known", n)
	}
	for _, dir := range []string{"logs/2026-03-06", day} {
		_, err := os.Stat(filepath.Join(w.dir, dir))
		if gone := os.IsNotExist(err); gone != (dir == "logs/2026-03-06") {
			t.Errorf("directory %s: %v", dir, err)
		}
	}
	for key := range w.journal.All("") {
		t.Errorf("the journal still has %q", key)
	}
}
