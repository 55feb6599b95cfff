package localfile

import (
	"testing"
	"time"
)

// TestSinkThatFollowsAnother says that a sink that is made while another of its
// name still writes touches nothing, and goes on where that one has ended.
func TestSinkThatFollowsAnother(t *testing.T) {
	w := newWorld(t, nil)
	first := w.start(nil)
	end := first.Begin()
	web := container("web")
	w.mustDeliver(lines(web, noon, "1"))
	// This is in the file and not in the journal yet.
	if err := first.Send(t.Context(), request(lines(web, noon, "not committed"))); err != nil {
		t.Fatal(err)
	}
	opts := w.opts
	opts.Journal = w.journal
	second, err := newSink(opts, osFileSystem{}, func() time.Time { return w.clock })
	if err != nil {
		t.Fatal(err)
	}
	w.wantLines("web.log", "1", "not committed")
	w.stop()
	end()
	defer second.Begin()()
	w.wantLines("web.log", "1")
	w.sink = second
	defer w.stop()
	w.mustDeliver(lines(web, noon, "2"))
	w.wantLines("web.log", "1", "2")
}
