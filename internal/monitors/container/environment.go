package container

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"

	"log_capturer/internal/pipeline"
)

// A container may say in its environment that it is not to be captured, as
// logspout's users do. The engine tells of that when a container is inspected, as
// all are that are read over the API. One that is read from its file is not asked
// about; the engine's own file about it stands beside the log, and says the same.

// configFile is the name of that file. (Seen from 1.10 on.)
const configFile = "config.v2.json"

// maxConfigBytes bounds what is read of it.
const maxConfigBytes = 1 << 20

// learnEnvironment sets info.Ignored to what is known of the container's
// environment, which does not change. The caller holds m.mu.
func (m *Monitor) learnEnvironment(e *entry, info *Info) {
	switch {
	case e.environment:
		info.Ignored = e.info.Ignored
		return
	case info.Inspected:
		e.environment = true
	case m.root.agent != "":
		info.Ignored, e.environment = readIgnored(filepath.Join(m.root.containers(), info.ID, configFile))
	}
	e.info.Ignored = info.Ignored
}

// readIgnored looks into the engine's file about a container.
func readIgnored(path string) (ignored, known bool) {
	f, err := os.Open(path)
	if err != nil {
		return false, false
	}
	defer func() { _ = f.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(f, maxConfigBytes))
	if err != nil {
		return false, false
	}
	if !bytes.Contains(text, []byte("LOGSPOUT")) {
		return false, true
	}
	var c struct {
		Config struct{ Env []string }
	}
	if json.Unmarshal(text, &c) != nil {
		return false, false
	}
	return pipeline.Ignored(c.Config.Env), true
}
