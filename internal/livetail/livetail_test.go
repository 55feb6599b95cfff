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
		r := &b.Records[i]
		wanted, err := w.Wants(b, r)
		if err != nil {
			lines = append(lines, "failed: "+err.Error())
		}
		if wanted {
			lines = append(lines, string(b.Line(r)))
		}
	}
	return lines, skipped
}

// publish shows a batch and ends the publisher's hold.
func publish(h *Hub, b *record.Batch) {
	h.At(Raw).Publish(b)
	b.Release()
}

func TestEveryWatcherGetsWhatItWants(t *testing.T) {
	f := func(want []string, q Query) {
		t.Helper()
		filter, err := NewFilter(q)
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
			t.Errorf("%+v: got %q, want %q", q, got, want)
		}
	}
	all := []string{"one", "two", "three"}
	f(all, Query{})
	f(all, Query{Sources: []string{"web-1"}, Stage: "raw"})
	f(nil, Query{Stage: "processed"})
	f(all, Query{Sources: []string{"db", "web-*"}})
	f(all, Query{Sources: []string{"abcd"}})
	f(nil, Query{Sources: []string{"abc"}})
	f(nil, Query{Sources: []string{"web"}})
	f([]string{"one", "two"}, Query{Stream: "stdout"})
	f([]string{"three"}, Query{Stream: "stderr"})
	f([]string{"two"}, Query{Text: "w"})
	f([]string{"two", "three"}, Query{Regexp: "^t"})
	f([]string{"three"}, Query{Text: "ee", Regexp: "^t"})
	f([]string{"two", "three"}, Query{Where: `line startsWith "t" and container == "web-1"`})
	f([]string{"two"}, Query{Where: `line startsWith "t" and stream != "stderr"`})
	f(nil, Query{Text: "one", Where: `line == "two"`})
}

// What a pipeline has made of a record can be asked for. Without one, a line's
// level is what its beginning says.
func TestLevelsAndFieldsAreWanted(t *testing.T) {
	f := func(want []string, stage string, q Query) {
		t.Helper()
		q.Stage = stage
		filter, err := NewFilter(q)
		if err != nil {
			t.Fatal(err)
		}
		h := New()
		w := watch(t, h, filter)
		defer w.Close()
		raw := batchOf(record.Stdout, "ERROR a", "INFO b", "c")
		h.At(Raw).Publish(raw)
		raw.Release()
		derived := record.NewBatch(web, 10)
		for i, d := range []record.Derivation{
			{Level: "warn", Attributes: []record.Attribute{{Name: "status", Value: "500", JSON: true}, {Name: "user", Value: "x"}}},
			{Level: "debug", Attributes: []record.Attribute{{Name: "status", Value: "200", JSON: true}, {Name: "ok", Value: "true", JSON: true}}, Labels: []record.Attribute{{Name: "app", Value: "shop"}}},
			{},
		} {
			derived.AppendDerived(record.Record{Stream: record.Stderr, Ordinal: 1}, []byte{byte('x' + i)}, d)
		}
		h.At(Processed).Publish(derived)
		derived.Release()
		var got []string
		for range len(w.waiting) {
			lines, _ := next(t, w)
			got = append(got, lines...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v: got %q, want %q", q, got, want)
		}
	}
	f([]string{"ERROR a", "INFO b", "c"}, "", Query{})
	f([]string{"ERROR a"}, "raw", Query{Level: "warn"})
	f([]string{"ERROR a", "INFO b"}, "raw", Query{Level: "trace"})
	f([]string{"x", "y", "z"}, "processed", Query{})
	f([]string{"x"}, "processed", Query{Level: "info"})
	f([]string{"x"}, "processed", Query{Where: `(fields.status ?? 0) >= 500`})
	f([]string{"y"}, "processed", Query{Where: `labels.app == "shop" and fields.ok == true`})
	f([]string{"x"}, "processed", Query{Where: `level == "warn" and fields.user == "x"`})
	// What cannot be compared is said, and not shown.
	f([]string{"x", "failed: expression: fields.status > 300: invalid operation: <nil> > int"}, "processed", Query{Where: `fields.status > 300`})
}

// Nobody who has records of a stage is asked for them while another one is
// watched.
func TestWatchedStages(t *testing.T) {
	h := New()
	f := func(raw, processed bool) {
		t.Helper()
		if r, p := h.At(Raw).Watched(), h.At(Processed).Watched(); r != raw || p != processed {
			t.Errorf("raw %t, processed %t, want %t and %t", r, p, raw, processed)
		}
	}
	f(false, false)
	one := watch(t, h, Filter{Stage: Processed})
	f(false, true)
	two := watch(t, h, Filter{})
	f(true, true)
	one.Close()
	f(true, false)
	two.Close()
	f(false, false)
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
	f := func(want string, q Query) {
		t.Helper()
		if _, err := NewFilter(q); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	f(`there is no stream "out": want stdout or stderr`, Query{Stream: "out"})
	f(`there is no stage "late": want raw or processed`, Query{Stage: "late"})
	f(`there is no level "bad": want trace, debug, info, warn, error, fatal`, Query{Level: "bad"})
	f("the regular expression is not valid: error parsing regexp: missing closing ): `(`", Query{Regexp: "("})
	f("the regular expression is longer than 4096 bytes", Query{Regexp: string(make([]byte, 5000))})
	f("the expression is longer than 4096 bytes", Query{Where: string(make([]byte, 5000))})
	f(`the expression is not valid: expected bool, but got string`, Query{Where: "line"})
	f(`"[" is no pattern: * stands for any text, ? for one character, [a-z] for one of these`, Query{Sources: []string{"a", "["}})
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
	place := New().At(Raw)
	batch := batchOf(record.Stdout, "line")
	b.ReportAllocs()
	for b.Loop() {
		if place.Watched() {
			place.Publish(batch)
		}
	}
}
