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
	"regexp"
	"slices"
	"strings"

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
	root, err := parse(data)
	if err != nil {
		return nil, nil, err
	}
	c := &converter{}
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
	// docker and files say what is captured.
	docker bool
	host   string
	// include selects containers; unbounded says that some job wants all.
	names, labels []any
	unbounded     bool
	fileSets      []any
	pipelines     []any
	pipelineNames map[string]bool
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
	c.pipelineNames = map[string]bool{}
	for _, e := range root.entries() {
		switch e.key {
		case "clients", "client", "scrape_configs":
		case "server":
			c.note(e.value, "is not carried over: the status page and the API listen on 127.0.0.1:8401 and metrics on 127.0.0.1:8001; see server and metrics")
		case "positions":
			c.note(e.value, "is not carried over: positions are kept in data_dir, and reading begins where start_at says")
		default:
			c.note(e.value, "is not carried over: there is nothing that corresponds to it")
		}
	}
	for _, job := range root.get("scrape_configs").list() {
		c.job(job)
	}
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
		if !c.unbounded && len(c.labels) > 0 {
			include = append(include, item("labels", c.labels))
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

// client converts one of Promtail's clients to a sink.
func (c *converter) client(n node, i, of int) yaml.MapSlice {
	sink := yaml.MapSlice{item("type", "loki")}
	name := n.get("name").text()
	if name == "" && of > 1 {
		name = fmt.Sprintf("loki-%d", i+1)
	}
	put := func(key, value string) {
		if value != "" {
			sink = append(sink, item(key, escape(value)))
		}
	}
	put("name", name)
	put("url", n.get("url").text())
	labels := yaml.MapSlice{}
	for _, e := range n.get("external_labels").entries() {
		labels = append(labels, item(e.key, template(e.value.text())))
	}
	if len(c.fileSets) > 0 {
		labels = append(labels, item("filename", "{file_path}"))
	}
	if len(labels) == 0 {
		labels = append(labels, item("host", "{host}"))
	}
	sink = append(sink, item("labels", labels), item("structured_metadata", yaml.MapSlice{}))
	put("tenant", template(n.get("tenant_id").text()))
	if auth := n.get("basic_auth"); auth.exists() {
		section := yaml.MapSlice{}
		for _, key := range []string{"username", "password", "password_file"} {
			if value := auth.get(key).text(); value != "" {
				section = append(section, item(key, escape(value)))
			}
		}
		sink = append(sink, item("basic_auth", section))
		c.leftOver(auth, "username", "password", "password_file")
	}
	put("bearer_token", n.get("bearer_token").text())
	put("bearer_token_file", n.get("bearer_token_file").text())
	if tls := n.get("tls_config"); tls.exists() {
		section := yaml.MapSlice{}
		for _, key := range []string{"ca_file", "cert_file", "key_file", "server_name", "insecure_skip_verify"} {
			if value := tls.get(key); value.exists() {
				section = append(section, item(key, value.scalar()))
			}
		}
		sink = append(sink, item("tls", section))
		c.leftOver(tls, "ca_file", "cert_file", "key_file", "server_name", "insecure_skip_verify")
	}
	if headers := n.get("headers"); headers.exists() {
		section := yaml.MapSlice{}
		for _, e := range headers.entries() {
			section = append(section, item(e.key, escape(e.value.text())))
		}
		sink = append(sink, item("headers", section))
	}
	put("linger", n.get("batchwait").text())
	put("batch_bytes", n.get("batchsize").text())
	put("timeout", n.get("timeout").text())
	backoff := n.get("backoff_config")
	put("min_backoff", backoff.get("min_period").text())
	put("max_backoff", backoff.get("max_period").text())
	if retries := backoff.get("max_retries"); retries.exists() {
		c.note(retries, "is not carried over: what a destination does not take is tried again until it does")
	}
	c.leftOver(backoff, "min_period", "max_period", "max_retries")
	c.leftOver(n, "name", "url", "external_labels", "tenant_id", "basic_auth", "bearer_token", "bearer_token_file",
		"tls_config", "headers", "batchwait", "batchsize", "timeout", "backoff_config")
	return sink
}

// job converts a scrape config to a pipeline, and to what it captures.
func (c *converter) job(n node) {
	p := &pipeline{converter: c, docker: n.get("docker_sd_configs").exists()}
	selection := yaml.MapSlice{}
	if p.docker {
		c.docker = true
		selection = c.dockerTargets(n.get("docker_sd_configs"))
	}
	if static := n.get("static_configs"); static.exists() {
		if p.docker {
			c.note(static, "is not carried over: a job has containers or files; make a job of its own for the files")
		} else {
			selection = c.fileTargets(static, hasStage(n, "cri"))
		}
	}
	c.leftOver(n, "job_name", "docker_sd_configs", "static_configs", "relabel_configs", "pipeline_stages")
	if len(selection) == 0 {
		c.note(n, "there is nothing in this job that can be captured")
		return
	}
	for _, rule := range n.get("relabel_configs").list() {
		p.relabel(rule)
	}
	p.stages(n.get("pipeline_stages"), "")
	p.cleanUp()
	if len(p.out) == 0 {
		return
	}
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '_'
	}, n.get("job_name").text())
	if name == "" {
		name = "job"
	}
	for base, i := name, 2; c.pipelineNames[name]; i++ {
		name = fmt.Sprintf("%s-%d", base, i)
	}
	c.pipelineNames[name] = true
	c.pipelines = append(c.pipelines, yaml.MapSlice{
		item("name", name), item("select", selection), item("stages", p.out),
	})
}

// hasStage reports whether a job has a stage of a type at its top.
func hasStage(job node, typ string) bool {
	return slices.ContainsFunc(job.get("pipeline_stages").list(), func(s node) bool { return s.get(typ).exists() })
}

// dockerTargets returns the selection of the containers of a job.
func (c *converter) dockerTargets(configs node) yaml.MapSlice {
	var names, labels []any
	all := false
	for _, n := range configs.list() {
		host := n.get("host").text()
		if c.host != "" && host != "" && host != c.host {
			c.note(n.get("host"), "is not carried over: an agent reads the containers of one engine, and it is that at %s; run one agent on each machine", c.host)
		} else if host != "" {
			c.host = host
		}
		filters := n.get("filters").list()
		all = all || len(filters) == 0
		for _, filter := range filters {
			for _, value := range filter.get("values").list() {
				switch filter.get("name").text() {
				case "name":
					// The engine looks for the text anywhere in a name.
					names = append(names, escape("*"+strings.Trim(value.text(), "/^$")+"*"))
				case "label":
					labels = append(labels, escape(value.text()))
				default:
					c.note(filter, "is not carried over: containers are chosen by name, image and label; see container_monitor.include")
					all = true
				}
			}
		}
		if len(filters) > 1 {
			c.note(n.get("filters"), "the engine takes containers that pass every filter; here one that passes any is taken")
		}
		c.leftOver(n, "host", "filters", "refresh_interval")
	}
	c.names, c.labels = append(c.names, names...), append(c.labels, labels...)
	if all {
		c.unbounded = true
		return yaml.MapSlice{item("names", []any{"*"})}
	}
	selection := yaml.MapSlice{}
	if len(names) > 0 {
		selection = append(selection, item("names", names))
	}
	if len(labels) > 0 {
		selection = append(selection, item("labels", labels))
	}
	return selection
}

// fileTargets makes file sets of a job's static targets, and returns the
// selection of the files.
func (c *converter) fileTargets(configs node, cri bool) yaml.MapSlice {
	var patterns []any
	for _, n := range configs.list() {
		set := yaml.MapSlice{}
		labels := yaml.MapSlice{}
		path := n.get("labels").get("__path__")
		if path.text() == "" {
			c.note(n, "is not carried over: it has no __path__")
			continue
		}
		patterns = append(patterns, escape(path.text()))
		set = append(set, item("include", []any{escape(path.text())}))
		for _, e := range n.get("labels").entries() {
			switch {
			case e.key == "__path__":
			case e.key == "__path_exclude__":
				set = append(set, item("exclude", []any{escape(e.value.text())}))
			case strings.HasPrefix(e.key, "__"):
				c.note(e.value, "is not carried over: there is nothing that corresponds to it")
			default:
				labels = append(labels, item(e.key, escape(e.value.text())))
			}
		}
		if len(labels) > 0 {
			set = append(set, item("labels", labels))
		}
		if cri {
			set = append(set, item("format", "cri"))
		}
		c.fileSets = append(c.fileSets, set)
		c.leftOver(n, "targets", "labels")
	}
	if len(patterns) == 0 {
		return nil
	}
	return yaml.MapSlice{item("files", patterns)}
}

// item returns a key and its value.
func item(key string, value any) yaml.MapItem { return yaml.MapItem{Key: key, Value: value} }

// escape returns a text in which a configuration puts no variables.
func escape(text string) string {
	return dollars.ReplaceAllStringFunc(text, func(run string) string {
		signs := strings.TrimSuffix(run, "{")
		if signs == run && len(signs) == 1 {
			return run
		}
		return signs + run
	})
}

// dollars are dollar signs, with the brace that would make the last one begin a
// variable.
var dollars = regexp.MustCompile(`\$+\{?`)

// template returns a text as a template without placeholders.
func template(text string) string {
	return escape(strings.NewReplacer("{", "{{", "}", "}}").Replace(text))
}

// errNotYAML says that a file cannot be read at all.
var errNotYAML = errors.New("is no YAML")
