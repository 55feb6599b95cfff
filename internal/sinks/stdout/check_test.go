package stdout

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
)

// A check writes nothing, and says when nothing could be written.
func TestCheck(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	f := func(out io.Writer, want string) {
		t.Helper()
		sink, err := New(Options{Text: true, Out: out})
		if err != nil {
			t.Fatal(err)
		}
		if err = sink.Check(t.Context()); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f(w, "")
	var memory bytes.Buffer
	f(&memory, "")
	f(r, "open for reading alone")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f(w, "the standard output is closed")
	if left, err := io.ReadAll(r); len(left)+memory.Len() > 0 || err != nil {
		t.Errorf("%q and %q were written, %v", left, memory.String(), err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}
