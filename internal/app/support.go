package app

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/common/expfmt"

	"log_capturer/internal/delivery"
	"log_capturer/internal/record"
	"log_capturer/internal/selfwatch"
)

// makeWatcher makes the agent's watch over itself.
func (a *app) makeWatcher() {
	c := a.now().config.Selfwatch
	a.watcher = selfwatch.New(selfwatch.Options{
		Build: build(), Interval: time.Duration(c.Interval), Window: time.Duration(c.Window), WarmUp: time.Duration(c.WarmUp),
		Load: a.load, Held: a.held, Overdue: a.overdue,
	})
}

// load returns the number of containers that are being read.
func (a *app) load() int {
	monitor := a.now().monitor
	if monitor == nil {
		return 0
	}
	n := 0
	for _, c := range monitor.Containers() {
		if c.State == "reading" {
			n++
		}
	}
	return n
}

// held returns the memory that the queues hold.
func (a *app) held() int64 {
	var n int64
	for _, s := range a.now().sinks {
		n += s.delivery.Held()
	}
	return n
}

// supportBundle writes what a bug report needs, without secrets.
func (a *app) supportBundle(w io.Writer) error {
	asJSON := func(name string, value func() any) selfwatch.File {
		return selfwatch.File{Name: name, Write: func(w io.Writer) error {
			encoder := json.NewEncoder(w)
			encoder.SetIndent("", "  ")
			return encoder.Encode(value())
		}}
	}
	files := append([]selfwatch.File{
		asJSON("status.json", func() any { return a.status() }),
		asJSON("health.json", func() any { return a.Health() }),
		asJSON("leaks.json", func() any { return a.watcher.Leaks() }),
		asJSON("containers.json", func() any { return a.containers() }),
		asJSON("positions.json", func() any { return a.cursors() }),
		{Name: "config.yaml", Write: a.writeConfig},
		{Name: "metrics.txt", Write: a.writeMetrics},
		{Name: "log.txt", Write: func(w io.Writer) error { _, err := a.recent.WriteTo(w); return err }},
	}, selfwatch.ProfileFiles()...)
	return selfwatch.WriteBundle(w, time.Now(), a.now().config.Secrets(), files)
}

// cursors returns where each sink stands in each source.
func (a *app) cursors() map[string]any {
	cursors := map[string]any{}
	for key, value := range a.journal.All(delivery.CursorPrefix) {
		var c record.Cursor
		if err := c.UnmarshalBinary(value); err != nil {
			cursors[key] = err.Error()
			continue
		}
		cursors[key] = c
	}
	return cursors
}

// writeConfig writes the configuration, whose secrets don't show.
func (a *app) writeConfig(w io.Writer) error {
	text, err := yaml.Marshal(a.now().config)
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	_, err = w.Write(text)
	return err
}

// writeMetrics writes the metrics as /metrics shows them.
func (a *app) writeMetrics(w io.Writer) error {
	families, err := a.registry.Gather()
	if err != nil {
		return fmt.Errorf("gather metrics: %w", err)
	}
	encoder := expfmt.NewEncoder(w, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, family := range families {
		if err := encoder.Encode(family); err != nil {
			return fmt.Errorf("write metrics: %w", err)
		}
	}
	return nil
}
