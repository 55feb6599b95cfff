package cli

import (
	"io"
	"strings"
	"testing"

	"log_capturer/internal/testkit/pty"
)

// Colours are for terminals, and not for those that do not want them.
func TestWantsColor(t *testing.T) {
	terminal := pty.Open(t)
	f := func(want bool, w io.Writer, environment ...string) {
		t.Helper()
		c := &call{Env: Env{LookupEnv: func(name string) (string, bool) {
			for i := 0; i < len(environment); i += 2 {
				if environment[i] == name {
					return environment[i+1], true
				}
			}
			return "", false
		}}}
		if got := c.wantsColor(w); got != want {
			t.Errorf("%q: %t", environment, got)
		}
	}
	f(true, terminal.File)
	f(true, terminal.File, "TERM", "xterm", "NO_COLOR", "")
	f(false, terminal.File, "NO_COLOR", "1")
	f(false, terminal.File, "TERM", "dumb")
	f(false, &strings.Builder{})
}

// What is being done is shown on a terminal, each in place of the last, and
// nowhere else.
func TestProgress(t *testing.T) {
	show := func(w io.Writer) {
		progress := Env{Stderr: w}.Progress()
		progress("one")
		progress("two")
		progress("")
	}
	terminal := pty.Open(t)
	show(terminal.File)
	if got := terminal.Close(); got != "\rone\x1b[K\rtwo\x1b[K\r\x1b[K" {
		t.Errorf("a terminal shows %q", got)
	}
	var piped strings.Builder
	show(&piped)
	if piped.Len() > 0 {
		t.Errorf("a pipe has %q", piped.String())
	}
}
