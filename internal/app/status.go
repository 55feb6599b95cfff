package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"log_capturer/internal/config"
	"log_capturer/internal/reload"
	"log_capturer/internal/selfwatch"
	"log_capturer/internal/server"
)

// build says which program this is.
func build() selfwatch.Build {
	b := selfwatch.Build{Version: "(devel)", Commit: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			b.Commit = setting.Value
		}
	}
	return b
}

// greet tells the one who started the agent what it does and where to look.
func (a *app) greet(w io.Writer) {
	say := func(format string, args ...any) {
		_, _ = fmt.Fprintf(w, format+"\n", args...) // nobody may be listening
	}
	p := a.now()
	say("log_capturer %s on %s", build().Version, a.host)
	if p.engine != nil {
		say("  captures  containers of the engine at %s", p.engine.Address())
	}
	if p.files != nil {
		for _, set := range p.config.FileMonitor.Files {
			say("  captures  files %s", strings.Join(set.Include, ", "))
		}
	}
	if p.kafka != nil {
		say("  reads     %s", topics(p.config.KafkaSource))
	}
	for _, s := range p.sinks {
		say("  delivers  %s: %s", s.config.Name, destination(s.config, p.config.DataDir))
	}
	say("  keeps     positions and refused records in %s", p.config.DataDir)
	if addr := a.server.APIAddr(); addr != "" {
		say("  shows     status at http://%s/", addr)
	}
	if addr := a.server.MetricsAddr(); addr != "" {
		say("            metrics at http://%s/metrics", addr)
	}
}

// greeted returns where the greeting goes: to stdout, unless a sink has that to
// itself.
func (a *app) greeted(stdout io.Writer) io.Writer {
	for _, s := range a.now().sinks {
		if s.config.Stdout != nil {
			return os.Stderr
		}
	}
	return stdout
}

// topics says what is read from Kafka, for people.
func topics(c config.KafkaSource) string {
	return fmt.Sprintf("topics %s of %s", strings.Join(c.Topics, ", "), strings.Join(c.Brokers, ", "))
}

// destination says where a sink's records go, for people.
func destination(c config.Sink, dataDir string) string {
	switch {
	case c.LocalFile != nil:
		return "files " + strings.ReplaceAll(c.LocalFile.Path, "{data_dir}", dataDir)
	case c.Loki != nil:
		return c.Type + " at " + c.Loki.URL
	case c.Elasticsearch != nil:
		if c.Elasticsearch.CloudID != "" {
			return c.Type + " in Elastic Cloud"
		}
		var hosts []string
		for _, u := range c.Elasticsearch.URLs {
			hosts = append(hosts, withoutQuery(u))
		}
		return c.Type + " at " + strings.Join(hosts, ", ")
	case c.Splunk != nil:
		return c.Type + " at " + withoutQuery(c.Splunk.URL)
	case c.OTLP != nil:
		return c.Type + " at " + withoutQuery(c.OTLP.URL)
	case c.Kafka != nil:
		return c.Type + " topic " + c.Kafka.Topic + " at " + strings.Join(c.Kafka.Brokers, ", ")
	case c.HTTP != nil:
		return c.Type + " at " + withoutQuery(c.HTTP.URL)
	}
	return c.Type
}

// withoutQuery returns an address without its query, which may hold a key.
func withoutQuery(address string) string {
	address, _, _ = strings.Cut(address, "?")
	return address
}

// status returns the facts about the agent for the API.
func (a *app) status() server.Status {
	p := a.now()
	dir := p.config.DataDir
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	b := build()
	s := server.Status{
		Version: b.Version, Commit: b.Commit,
		StartedAt: a.started, DataDir: dir, Host: a.host,
	}
	for _, sink := range p.sinks {
		accounts, load := sink.delivery.Accounts(), sink.delivery.Load()
		s.Sinks = append(s.Sinks, server.Sink{
			Name: sink.config.Name, Type: sink.config.Type,
			Accepted: accounts.Accepted, Acknowledged: accounts.Acknowledged,
			DeadLettered: accounts.DeadLettered, InMemory: accounts.InMemory,
			Spooled: accounts.Spooled, Dropped: accounts.Dropped,
			QueueBytes: load.Bytes, QueueCapacityBytes: load.Capacity, FailedAttempts: load.FailedAttempts,
		})
	}
	usage := a.watcher.Usage()
	s.Process = server.Process{
		Goroutines: usage.Goroutines, OpenFDs: usage.OpenFDs,
		ResidentBytes: usage.ResidentBytes, CPUSeconds: usage.CPU.Seconds(),
	}
	if a.reloads.Last() != nil {
		s.LastReload = a.lastReload()
	}
	return s
}

// reload has the configuration reloaded, for the API.
func (a *app) reload(ctx context.Context) (server.Reload, error) {
	result, err := a.reloads.Do(ctx, reload.ByAPI)
	return shown(result), err
}

// lastReload returns what the last reload came to, for the API.
func (a *app) lastReload() *server.Reload {
	r := shown(*a.reloads.Last())
	return &r
}

func shown(r reload.Result) server.Reload {
	return server.Reload{
		At: r.At, Cause: r.Cause, Result: r.Result, OK: r.Ok(), Changed: r.Changed, Errors: r.Errors, Seconds: r.Took.Seconds(),
	}
}

// ready returns nil when the agent has begun to capture.
func (a *app) ready() error {
	p := a.now()
	if p.monitor != nil && !p.monitor.Ready() {
		return errors.New("the containers have not been listed yet")
	}
	if p.files != nil && !p.files.Ready() {
		return errors.New("the files have not been looked for yet")
	}
	return nil
}

// listFiles returns what is known of every file for the API.
func (a *app) listFiles() []server.File {
	files := a.now().files
	if files == nil {
		return nil
	}
	var list []server.File
	for _, f := range files.Files() {
		list = append(list, server.File{
			Path: f.Path, State: server.State(f.State), Reason: f.Reason, Labels: f.Labels,
			Namespace: f.Namespace, Pod: f.Pod, Container: f.Container,
			LagSeconds: f.Lag.Seconds(), Lines: uint64(f.Records), Bytes: uint64(f.Bytes),
			SuspectedGaps: f.Gaps, LostBytes: uint64(f.LostBytes), LastLine: f.LastLine, Watched: f.Watched,
		})
	}
	return list
}

// containers returns what is known of every container for the API.
func (a *app) containers() []server.Container {
	monitor := a.now().monitor
	if monitor == nil {
		return nil
	}
	var list []server.Container
	for _, c := range monitor.Containers() {
		out := server.Container{
			ID: c.ID, Name: c.Name, Image: c.Image, State: server.State(c.State), Reason: c.Reason,
			LagSeconds: c.Lag.Seconds(), Lease: c.Lease,
			Transport: string(c.Transport), TransportReason: c.TransportReason,
			Lines: uint64(c.Records), Bytes: uint64(c.Bytes), SuspectedGaps: c.Gaps, LastLine: c.LastLine,
		}
		list = append(list, out)
	}
	return list
}
