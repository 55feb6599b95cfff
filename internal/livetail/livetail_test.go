package livetail

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"log_capturer/internal/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var web = &record.Source{Key: "container/1", ContainerID: "abcdef", ContainerName: "web-1"}

// batchOf returns a batch of web with the given lines, all of one stream.
func batchOf(stream record.Stream, lines ...string) *record.Batch {
	b := record.NewBatch(web, 100)
	for _, line := range lines {
		b.Append(record.Record{Stream: stream}, []byte(line))
	}
	return b
}

func watch(t *testing.T, h *Hub, f Filter) *Watcher {
	t.Helper()
	w, err := h.Watch(f)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// next returns the wanted lines of the next batch.
func next(t *testing.T, w *Watcher) (lines []string, skipped uint64) {
	t.Helper()
	b, skipped, err := w.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if b == nil {
		return nil, skipped
	}
	defer b.Release()
	for i := range b.Records {
		if r := &b.Records[i]; w.Wants(b, r) {
			lines = append(lines, string(b.Line(r)))
		}
	}
	return lines, skipped
}

// publish shows a batch and ends the publisher's hold.
func publish(h *Hub, b *record.Batch) {
	h.Publish(b)
	b.Release()
}

func TestEveryWatcherGetsWhatItWants(t *testing.T) {
	f := func(want []string, containers []string, stream, text, expression string) {
		t.Helper()
		filter, err := NewFilter(containers, stream, text, expression)
		if err != nil {
			t.Fatal(err)
		}
		h := New()
		w := watch(t, h, filter)
		defer w.Close()
		publish(h, batchOf(record.Stdout, "one", "two"))
		publish(h, batchOf(record.Stderr, "three"))
		var got []string
		for range len(w.waiting) {
			lines, _ := next(t, w)
			got = append(got, lines...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q %q %q %q: got %q, want %q", containers, stream, text, expression, got, want)
		}
	}
	all := []string{"one", "two", "three"}
	f(all, nil, "", "", "")
	f(all, []string{"web-1"}, "", "", "")
	f(all, []string{"db", "web-*"}, "", "", "")
	f(all, []string{"abcd"}, "", "", "")
	f(nil, []string{"abc"}, "", "", "")
	f(nil, []string{"web"}, "", "", "")
	f([]string{"one", "two"}, nil, "stdout", "", "")
	f([]string{"three"}, nil, "stderr", "", "")
	f([]string{"two"}, nil, "", "w", "")
	f([]string{"two", "three"}, nil, "", "", "^t")
	f([]string{"three"}, nil, "", "ee", "^t")
}

func TestFilesAreWanted(t *testing.T) {
	b := record.NewBatch(&record.Source{Key: "file/1", FilePath: "/var/log/app.log"}, 10)
	defer b.Release()
	for pattern, want := range map[string]bool{"app.log": true, "*.log": true, "/var/log/*": true, "/var/*": false, "": true, "x": false, "file": false} {
		f := Filter{}
		if pattern != "" {
			f.Sources = []string{pattern}
		}
		if got := f.wantsSource(b); got != want {
			t.Errorf("%q: %t, want %t", pattern, got, want)
		}
	}
}

func TestBadFilters(t *testing.T) {
	f := func(want string, containers []string, stream, expression string) {
		t.Helper()
		if _, err := NewFilter(containers, stream, "", expression); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	f(`there is no stream "out": want stdout or stderr`, nil, "out", "")
	f("the regular expression is not valid: error parsing regexp: missing closing ): `(`", nil, "", "(")
	f("the regular expression is longer than 4096 bytes", nil, "", string(make([]byte, 5000)))
	f(`"[" is no pattern: * stands for any text, ? for one character, [a-z] for one of these`, []string{"a", "["}, "", "")
}

// Whoever is slow gets what fits, and is told of the rest: what came and what
// was skipped is all that there was.
func TestASlowWatcherSkips(t *testing.T) {
	h := New()
	slow, quick := watch(t, h, Filter{}), watch(t, h, Filter{})
	defer quick.Close()
	const batches, size = 100, 100 << 10
	for i := range batches {
		line := fmt.Sprintf("%04d%s", i, make([]byte, size))
		publish(h, batchOf(record.Stdout, line, "end"))
		if lines, skipped := next(t, quick); len(lines) != 2 || lines[0] != line || skipped != 0 {
			t.Fatalf("batch %d: %d lines, %d skipped", i, len(lines), skipped)
		}
		if slow.memory > maxWaiting {
			t.Fatalf("%d bytes wait", slow.memory)
		}
	}
	var got, skipped uint64
	for i := 0; ; i++ {
		var lines []string
		if lines, skipped = next(t, slow); lines == nil {
			break
		}
		if skipped > 0 {
			t.Fatalf("%d skipped before batch %d", skipped, i)
		}
		if want := fmt.Sprintf("%04d", i); lines[0][:4] != want {
			t.Fatalf("got batch %s, want %s", lines[0][:4], want)
		}
		got += uint64(len(lines))
	}
	if got < 10 || got+skipped != 2*batches {
		t.Errorf("%d came and %d were skipped, of %d", got, skipped, 2*batches)
	}
	// It goes on with what comes now, and a single batch may be of any size. What
	// was skipped is told where it was.
	huge := string(make([]byte, 2*maxWaiting))
	publish(h, batchOf(record.Stdout, huge))
	publish(h, batchOf(record.Stdout, "1", "2", "3"))
	if lines, skipped := next(t, slow); len(lines) != 1 || skipped != 0 {
		t.Errorf("%d lines, %d skipped", len(lines), skipped)
	}
	publish(h, batchOf(record.Stdout, "4"))
	if lines, skipped := next(t, slow); !slices.Equal(lines, []string{"4"}) || skipped != 3 {
		t.Errorf("%q, %d skipped", lines, skipped)
	}
	publish(h, batchOf(record.Stdout, "left"))
	slow.Close()
	if h.Watchers() != 1 {
		t.Errorf("%d watchers, want 1", h.Watchers())
	}
}

// A batch is held while it waits, and no longer.
func TestHolds(t *testing.T) {
	h := New()
	w := watch(t, h, Filter{})
	b := batchOf(record.Stdout, "line")
	publish(h, b)
	if len(b.Records) != 1 {
		t.Fatal("the batch was released while it waits")
	}
	w.Close()
	defer func() {
		if recover() == nil {
			t.Error("somebody still holds the batch")
		}
	}()
	b.Release()
}

func TestNextWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New()
		w := watch(t, h, Filter{})
		defer w.Close()
		time.AfterFunc(time.Hour, func() { publish(h, batchOf(record.Stdout, "late")) })
		if lines, _ := next(t, w); !slices.Equal(lines, []string{"late"}) {
			t.Errorf("got %q", lines)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, _, err := w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Next = %v", err)
		}
	})
}

func TestTooManyWatchers(t *testing.T) {
	h := New()
	for range maxWatchers {
		defer watch(t, h, Filter{}).Close()
	}
	if _, err := h.Watch(Filter{}); !errors.Is(err, ErrTooMany) {
		t.Errorf("one more: %v", err)
	}
}

// BenchmarkPublish is what a batch costs that nobody watches.
func BenchmarkPublish(b *testing.B) {
	h := New()
	batch := batchOf(record.Stdout, "line")
	b.ReportAllocs()
	for b.Loop() {
		h.Publish(batch)
	}
}
