package spelling

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNearest(t *testing.T) {
	valid := []string{"data_dir", "host", "log", "max_streams", "url"}
	f := func(name, want string) {
		t.Helper()
		if got, ok := Nearest(name, valid); ok != (want != "") || ok && got != want {
			t.Errorf("Nearest(%q) = %q, %v; want %q", name, got, ok, want)
		}
	}
	f("max_stream", "max_streams")
	f("maxstreams", "max_streams")
	f("datadir", "data_dir")
	f("hostname", "")
	f("hosts", "host")
	f("uri", "url")
	f("logs", "log")
	f("x", "")
	f("", "")
	f("something_else", "")
	if _, ok := Nearest("a", nil); ok {
		t.Error("there is nothing to suggest")
	}
}
