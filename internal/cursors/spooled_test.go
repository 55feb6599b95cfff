package cursors

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"log_capturer/internal/positions"
	"log_capturer/internal/record"
	"log_capturer/internal/record/recordtest"
	"log_capturer/internal/spool"
)

// fill puts records of a source into the spool of a sink.
func fill(t *testing.T, dataDir, sink, source string, records int) {
	t.Helper()
	s, err := spool.Open(filepath.Join(dataDir, "spool", sink), spool.Options{MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b := recordtest.NewLog(source).Fill(records).Read().Next(records)
	if _, err := s.Append(b, [record.NumStreams]int{}, records); err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
}

func find(t *testing.T, dataDir string) Spooled {
	t.Helper()
	held, err := FindSpooled(dataDir)
	if err != nil {
		t.Fatal(err)
	}
	return held
}

// A position is not moved while a spool has records of its source, which are
// numbered from where it was: neither by a reset nor by an import. Other sources'
// are, and the same one when the spool is gone; then nothing is left of what was
// delivered out of it.
func TestPositionsOfSpooledSources(t *testing.T) {
	j, dir := journalWith(t)
	if held := find(t, dir); len(held.records) != 0 {
		t.Errorf("without a spool there is %v", held)
	}
	fill(t, dir, "b", "container/1234", 7)
	delivered, _ := cursorAfter(2).AppendBinary(nil)
	if err := j.Commit(positions.Change{Key: "delivered/b/container/1234", Value: delivered}); err != nil {
		t.Fatal(err)
	}
	before := take(t, j)
	refused := func(err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), `the spool of sink "b" has 7 records of container/1234: let the agent run`) {
			t.Errorf("got %v", err)
		}
		if value, ok := j.Get("delivered/b/container/1234"); !ok || !reflect.DeepEqual(value, delivered) || !reflect.DeepEqual(take(t, j), before) {
			t.Error("the journal was changed")
		}
	}
	held := find(t, dir)
	_, err := Reset(j, held, "1234", Start{})
	refused(err)
	moved := take(t, j)
	moved.Positions[1].Cursor, _ = cursorAfter(1).AppendBinary(nil)
	refused(Import(j, held, moved, false))
	refused(Import(j, held, Export{Format: exportFormat}, true))

	// What stays where it is may be imported, and other sources may be moved.
	if err := Import(j, held, before, true); err != nil {
		t.Errorf("an import that changes nothing: %v", err)
	}
	if _, err := Reset(j, held, "1235", Start{AsNew: true}); err != nil {
		t.Errorf("another source: %v", err)
	}
	if value, ok := j.Get("delivered/b/container/1234"); !ok || !reflect.DeepEqual(value, delivered) {
		t.Error("what was delivered is forgotten")
	}

	if err := os.RemoveAll(filepath.Join(dir, "spool", "b")); err != nil {
		t.Fatal(err)
	}
	if _, err := Reset(j, find(t, dir), "1234", Start{}); err != nil {
		t.Errorf("when the spool is gone: %v", err)
	}
	if _, ok := j.Get("delivered/b/container/1234"); ok {
		t.Error("what was delivered of the old position is still there")
	}
}
