package cli

import (
	"strings"
	"testing"

	"log_capturer/internal/config"
)

// TestLogChanges says that the level and the form of the log change for those who
// have a logger already.
func TestLogChanges(t *testing.T) {
	var out strings.Builder
	log := newAgentLog(config.Log{Level: "info", Format: "text"}, &out)
	logger := log.logger.With("sink", "main").WithGroup("g")
	f := func(cfg config.Log, want string) {
		t.Helper()
		out.Reset()
		log.set(cfg)
		logger.Debug("debugging", "a", 1)
		got := out.String()
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%+v: %q, want %q", cfg, got, want)
		}
	}
	f(config.Log{Level: "info", Format: "text"}, "")
	f(config.Log{Level: "debug", Format: "text"}, "level=DEBUG msg=debugging sink=main g.a=1")
	f(config.Log{Level: "debug", Format: "json"}, `"msg":"debugging","sink":"main","g":{"a":1}`)
	f(config.Log{Level: "warn", Format: "json"}, "")
}
