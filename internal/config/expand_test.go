package config

import (
	"strings"
	"testing"
)

func TestExpand(t *testing.T) {
	env := environment("A", "1", "EMPTY", "", "NESTED", "${A} $$", "lower_9", "x")
	f := func(text, want string) {
		t.Helper()
		if got, wrong := expand(text, env); got != want || len(wrong) > 0 {
			t.Errorf("expand(%q) = %q, %q; want %q", text, got, wrong, want)
		}
	}
	f("", "")
	f("plain", "plain")
	f("${A}", "1")
	f("<${A}${A}>", "<11>")
	f("${lower_9}", "x")
	f("${EMPTY}", "")
	f("${EMPTY:-d}", "d")
	f("${UNSET:-d}", "d")
	f("${UNSET:-}", "")
	f("${A:-d}", "1")
	f("${UNSET:-{host}/{image}}.log", "{host}/{image}.log")
	f("${UNSET:-a:-b}", "a:-b")
	f("${UNSET:-a$b$$c}", "a$b$c")
	f("${UNSET:-$${A}}", "${A}")
	f("${NESTED}", "${A} $$")
	f("$$", "$")
	f("$$$$", "$$")
	f("$${A}", "${A}")
	f("$$${A}", "$1")
	f("$A", "$A")
	f("a$", "a$")
	f("pa$sword", "pa$sword")
}

// The value of a variable takes the type of the key, and never changes the
// structure of the file.
func TestVariablesInAFile(t *testing.T) {
	text := `
host: ${INJECTED}
container_monitor:
  max_streams: ${N:-7}
  rotation_interval: ${D}
  enabled: ${ENABLED}
  max_line_bytes: "${SIZE}"
  include:
    names: ["${INJECTED}", '$${N}', plain]
log:
  # ${NOT_SET} in a comment is nothing
  level: |-
    ${LEVEL}
`
	injected := "a\nlog: {level: error}\n- b: c"
	cfg := parsed(t, text, "INJECTED", injected, "D", "7s", "ENABLED", "false", "SIZE", "2KiB", "LEVEL", "warn")
	m := cfg.ContainerMonitor
	if cfg.Host != injected {
		t.Errorf("host = %q", cfg.Host)
	}
	if m.MaxStreams != 7 || m.RotationInterval.String() != "7s" || m.Enabled || m.MaxLineBytes != 2048 {
		t.Errorf("got %+v", m)
	}
	if got, want := strings.Join(m.Include.Names, "|"), injected+"|${N}|plain"; got != want {
		t.Errorf("names = %q, want %q", got, want)
	}
	if cfg.Log.Level != "warn" {
		t.Errorf("level = %q", cfg.Log.Level)
	}
}
