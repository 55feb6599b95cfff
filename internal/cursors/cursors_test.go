package cursors

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"log_capturer/internal/positions"
	"log_capturer/internal/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cursorAfter returns the cursor after n records of stdout.
func cursorAfter(n int) record.Cursor {
	var c record.Cursor
	if n > 0 {
		c.Streams[record.Stdout] = record.Anchor{Seq: uint64(n), AsOf: uint64(n), Last: true, Time: int64(n) * 1e9, Count: 1, Hash: 7}
	}
	return c
}

// journalWith returns a journal with some cursors and other facts.
func journalWith(t *testing.T) (*positions.Journal, string) {
	t.Helper()
	dir := t.TempDir()
	j, err := positions.Open(dir+"/positions", positions.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	change := func(key string, c record.Cursor) positions.Change {
		value, _ := c.AppendBinary(nil)
		return positions.Change{Key: key, Value: value}
	}
	err = j.Commit(
		change("cursor/a/container/1234", cursorAfter(5)), change("cursor/b/container/1234", cursorAfter(3)),
		change("cursor/a/container/1235", cursorAfter(0)), positions.Change{Key: "file/x", Value: []byte("9")},
	)
	if err != nil {
		t.Fatal(err)
	}
	return j, dir
}

func take(t *testing.T, j Journal) Export {
	t.Helper()
	e, err := Take(j)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// summary returns source, sink and records of every position.
func summary(e Export) string {
	var b strings.Builder
	for _, p := range e.Positions {
		b.WriteString(p.Source + " " + p.Sink + " " + p.From.Format(time.DateTime) + strings.Repeat("*", int(p.Records)) + "\n")
	}
	return strings.ReplaceAll(b.String(), "0001-01-01 00:00:00", "")
}

func TestExportsAreImported(t *testing.T) {
	j, _ := journalWith(t)
	e := take(t, j)
	const want = "container/1234 a *****\ncontainer/1234 b ***\ncontainer/1235 a \n"
	if got := summary(e); got != want {
		t.Fatalf("got\n%s", got)
	}
	if last := e.Positions[0].Last; !last.Equal(time.Unix(5, 0)) {
		t.Errorf("the last record is of %v", last)
	}
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var read Export
	if err := json.Unmarshal(text, &read); err != nil || !reflect.DeepEqual(read, e) {
		t.Fatalf("%v: read again it is %+v", err, read)
	}

	other, err := positions.Open(t.TempDir(), positions.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := Import(other, Spooled{}, read, false); err != nil {
		t.Fatal(err)
	}
	if got := summary(take(t, other)); got != want {
		t.Errorf("imported\n%s", got)
	}
	read.Positions = read.Positions[1:2]
	if err := Import(other, Spooled{}, read, false); err != nil || summary(take(t, other)) != want {
		t.Errorf("%v: others do not stay", err)
	}
	if err := Import(other, Spooled{}, read, true); err != nil || summary(take(t, other)) != "container/1234 b ***\n" {
		t.Errorf("%v: others are not replaced", err)
	}
}

// An import that is wrong changes nothing.
func TestBadImports(t *testing.T) {
	j, _ := journalWith(t)
	before := take(t, j)
	f := func(want string, spoil func(*Export)) {
		t.Helper()
		e := take(t, j)
		e.Positions[0].Cursor, _ = cursorAfter(1).AppendBinary(nil)
		spoil(&e)
		if err := Import(j, Spooled{}, e, true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		if after := take(t, j); !reflect.DeepEqual(before, after) {
			t.Errorf("%s: the journal was changed", want)
		}
	}
	f("format 2", func(e *Export) { e.Format = 2 })
	f("both have to be named", func(e *Export) { e.Positions[2].Sink = "" })
	f("both have to be named", func(e *Export) { e.Positions[2].Sink = "a/b" })
	f("decode cursor", func(e *Export) { e.Positions[2].Cursor = []byte("?") })
	f("two positions", func(e *Export) { e.Positions[1].Sink = "a" })
}

func TestReset(t *testing.T) {
	f := func(want, name string, start Start) {
		t.Helper()
		j, _ := journalWith(t)
		source, err := Reset(j, Spooled{}, name, start)
		if err != nil || source != "container/1234" {
			t.Fatalf("%s, %v", source, err)
		}
		if got := summary(take(t, j)); got != want {
			t.Errorf("%q %+v: got\n%s", name, start, got)
		}
		if value, ok := j.Get("file/x"); !ok || string(value) != "9" {
			t.Error("another fact was changed")
		}
	}
	f("container/1235 a \n", "container/1234", Start{AsNew: true})
	f("container/1234 a \ncontainer/1234 b \ncontainer/1235 a \n", "1234", Start{})
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	f("container/1234 a 2026-03-04 05:06:07\ncontainer/1234 b 2026-03-04 05:06:07\ncontainer/1235 a \n", "1234", Start{After: at})

	j, _ := journalWith(t)
	for name, want := range map[string]string{"123": "no position", "container/9": "no position", "12345": "no position"} {
		if _, err := Reset(j, Spooled{}, name, Start{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := j.Commit(positions.Change{Key: "cursor/a/container/12349", Value: take(t, j).Positions[0].Cursor}); err != nil {
		t.Fatal(err)
	}
	if _, err := Reset(j, Spooled{}, "container/123", Start{}); err == nil {
		t.Error("the beginning of a key is no name")
	}
	if source, err := Reset(j, Spooled{}, "container/1234", Start{}); err != nil || source != "container/1234" {
		t.Errorf("%s, %v", source, err)
	}
	if _, err := Reset(j, Spooled{}, "1234", Start{}); err == nil || !strings.Contains(err.Error(), "is the beginning of 2 sources") {
		t.Errorf("ambiguous: %v", err)
	}
}

func TestOpen(t *testing.T) {
	j, dir := journalWith(t)
	if _, err := Open(dir); !errors.Is(err, ErrRunning) {
		t.Errorf("in use: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if len(take(t, again).Positions) != 3 {
		t.Error("positions are missing")
	}
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "there are no positions in ") {
		t.Errorf("nothing there: %v", err)
	}
}
