// Package promtail turns a configuration of Grafana Promtail, which has come to
// its end of life, into one of this agent.
//
// It owns what it knows of Promtail's keys, as Promtail's reference describes
// them (grafana.com/docs/loki, send-data/promtail/configuration and
// .../promtail/stages), and says of every key that it does not carry over why,
// and in which line it stands. Whether the result is valid is for the config
// package to say; it holds nothing but keys that the reference of this agent
// has.
package promtail

import (
	"errors"
	"fmt"
	"slices"

	"github.com/goccy/go-yaml"
)

// Note says of a place in the file what was not carried over, or what should be
// looked at.
type Note struct {
	// Line counts from 1.
	Line int
	// Path is the key, as in scrape_configs[0].pipeline_stages[2].pack.
	Path string
	// Message says what and why.
	Message string
}

// String returns the note as one line.
func (n Note) String() string { return fmt.Sprintf("line %d: %s: %s", n.Line, n.Path, n.Message) }

// Convert returns the configuration of this agent for a file of Promtail, as
// YAML, and what is to be said about it, by line.
func Convert(data []byte) (text []byte, notes []Note, err error) {
	root, err := parseFile([]byte(keepVariables(string(data))))
	if err != nil {
		return nil, nil, err
	}
	c := &converter{pipelineNames: map[string]bool{}, labelNames: map[string]bool{}, metrics: map[string]*metricUse{}}
	result := c.config(root)
	if text, err = yaml.MarshalWithOptions(result, yaml.IndentSequence(true)); err != nil {
		return nil, nil, fmt.Errorf("write the configuration: %w", err)
	}
	slices.SortStableFunc(c.notes, func(a, b Note) int { return a.Line - b.Line })
	return text, c.notes, nil
}

// converter collects what is found while a file is walked.
type converter struct {
	notes []Note
	// docker says that containers are captured, from the engine at host.
	docker bool
	host   string
	// names and containerLabels select containers; unbounded says that some job
	// wants all.
	names, containerLabels []any
	unbounded              bool
	// patterns are those of the file sets.
	patterns      []string
	fileSets      []any
	pipelines     []any
	pipelineNames map[string]bool
	// labelNames are the labels that pipelines set.
	labelNames map[string]bool
	// metrics are those that stages make, by name.
	metrics map[string]*metricUse
	// count is the number of stages so far.
	count int
}

// note says something about a place.
func (c *converter) note(n node, format string, args ...any) {
	c.notes = append(c.notes, Note{n.line, n.path, fmt.Sprintf(format, args...)})
}

// leftOver notes the keys of n that are not among those that were understood.
func (c *converter) leftOver(n node, understood ...string) {
	for _, e := range n.entries() {
		if !slices.Contains(understood, e.key) {
			c.note(e.value, "is not carried over: there is nothing that corresponds to it")
		}
	}
}

func (c *converter) config(root node) yaml.MapSlice {
	for _, e := range root.entries() {
		switch e.key {
		case "clients", "client", "scrape_configs":
		case "server":
			c.note(e.value, "is not carried over: the status page and the API listen on 127.0.0.1:8401 and metrics on 127.0.0.1:8001; see server and metrics")
		case "positions":
			c.note(e.value, "is not carried over: positions are kept in data_dir, and what is there is read from its beginning; start_at: end leaves out what Promtail has sent")
		case "target_config":
			c.note(e.value, "is not carried over: new files are found at once where the kernel tells of them; see file_monitor.scan_interval")
		case "limits_config":
			c.note(e.value, "is not carried over: see source_rate_limit, and the stage limit")
		default:
			c.note(e.value, "is not carried over: there is nothing that corresponds to it")
		}
	}
	c.jobs(root.get("scrape_configs").list())
	clients := root.get("clients").list()
	if one := root.get("client"); one.exists() {
		clients = append(clients, one)
	}
	result := yaml.MapSlice{}
	monitor := yaml.MapSlice{}
	switch {
	case !c.docker:
		monitor = append(monitor, item("enabled", false))
	default:
		if c.host != "" && c.host != "unix:///var/run/docker.sock" {
			monitor = append(monitor, item("docker_host", escape(c.host)))
		}
		include := yaml.MapSlice{}
		if !c.unbounded && len(c.names) > 0 {
			include = append(include, item("names", c.names))
		}
		if !c.unbounded && len(c.containerLabels) > 0 {
			include = append(include, item("labels", c.containerLabels))
		}
		if len(include) > 0 {
			monitor = append(monitor, item("include", include))
		}
	}
	if len(monitor) > 0 {
		result = append(result, item("container_monitor", monitor))
	}
	if len(c.fileSets) > 0 {
		result = append(result, item("file_monitor", yaml.MapSlice{item("files", c.fileSets)}))
	}
	if len(c.pipelines) > 0 {
		result = append(result, item("pipelines", c.pipelines))
	}
	if len(clients) == 0 {
		c.note(root, "there are no clients: records go to files, as they do without a configuration")
		return result
	}
	var sinks []any
	for i, client := range clients {
		sinks = append(sinks, c.client(client, i, len(clients)))
	}
	return append(result, item("sinks", sinks))
}

// item returns a key and its value.
func item(key string, value any) yaml.MapItem { return yaml.MapItem{Key: key, Value: value} }

// errNotYAML says that a file cannot be read at all.
var errNotYAML = errors.New("is no YAML")
