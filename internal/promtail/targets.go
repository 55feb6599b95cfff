package promtail

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// job is a scrape config, with what it captures.
type job struct {
	node
	kind kind
	// selection chooses its sources, and condition which of these are its own.
	selection yaml.MapSlice
	condition string
	// bounded says that a job of containers does not take them all, filtered
	// that its selection takes more than its condition.
	bounded, filtered bool
	// fixed are the labels of a job's files, by name: expressions.
	fixed yaml.MapSlice
	cri   bool
}

// jobs converts the scrape configs, those of containers first.
func (c *converter) jobs(list []node) {
	var docker, others []job
	for _, n := range list {
		known := false
		if configs := n.get("docker_sd_configs"); configs.exists() {
			known, c.docker = true, true
			if j, ok := c.dockerJob(n, configs); ok {
				docker = append(docker, j)
			}
		}
		if configs := n.get("kubernetes_sd_configs"); configs.exists() {
			known = true
			others = append(others, c.podJob(n, configs))
		}
		if static := n.get("static_configs"); static.exists() {
			if j := c.fileJob(n, static); len(j.selection) > 0 {
				known = true
				others = append(others, j)
			}
		}
		for _, e := range n.entries() {
			if why := targets[e.key]; why != "" {
				known = true
				c.note(e.value, "is not carried over: %s", why)
			}
		}
		understood := []string{
			"job_name", "docker_sd_configs", "static_configs", "kubernetes_sd_configs", "relabel_configs", "pipeline_stages",
		}
		for key := range targets {
			understood = append(understood, key)
		}
		c.leftOver(n, understood...)
		if !known {
			c.note(n, "there is nothing in this job that can be captured")
		}
	}
	c.dockerPipelines(docker)
	for _, j := range others {
		p := newPipeline(c, j.kind)
		p.cri = j.cri
		c.fillFixed(p, &j)
		c.finish(p, j.get("job_name").text(), j.selection, len(p.out), func() {
			p.relabelAll(j.get("relabel_configs"))
			p.allStages(j.get("pipeline_stages"))
		})
	}
}

// targets are what else Promtail reads, and why it is not carried over.
var targets = map[string]string{
	"journal":         "the journal is not read; let journald pass messages on to a syslog daemon that writes files (ForwardToSyslog=yes)",
	"syslog":          "nothing is received over the network; let the syslog daemon write files, and read these",
	"loki_push_api":   "nothing is received over the network; let the clients push to Loki",
	"gelf":            "nothing is received over the network",
	"kafka":           "topics of other writers are read by kafka_source, with format: text",
	"windows_events":  "events of Windows are not read",
	"file_sd_configs": "lists of files are not read; name the files in file_monitor.files",
}

// fillFixed sets the labels that a job of files begins with.
func (c *converter) fillFixed(p *pipeline, j *job) {
	if j.kind == containers {
		return
	}
	values := yaml.MapSlice{item("label.filename", "file")}
	p.hasLabel("filename")
	p.defined["filename"] = "file"
	for _, f := range j.fixed {
		name, _ := f.Key.(string)
		text, _ := f.Value.(string)
		values = append(values, item("label."+name, escape(text)))
		p.hasLabel(name)
		p.defined[name] = text
	}
	p.stage("set", item("values", values))
}

// finish makes the stages of a pipeline, and adds it where it does more than what
// its first stages do.
func (c *converter) finish(p *pipeline, jobName string, selection yaml.MapSlice, first int, body func()) {
	body()
	if len(p.out) == first {
		return
	}
	p.cleanUp()
	for name := range p.labels {
		c.labelNames[name] = true
	}
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '_'
	}, jobName)
	if name == "" {
		name = "job"
	}
	for base, i := name, 2; c.pipelineNames[name]; i++ {
		name = fmt.Sprintf("%s-%d", base, i)
	}
	c.pipelineNames[name] = true
	c.pipelines = append(c.pipelines, yaml.MapSlice{item("name", name), item("select", selection), item("stages", p.out)})
}

// hasStage reports whether a job has a stage of a type at its top.
func hasStage(job node, typ string) bool {
	return slices.ContainsFunc(job.get("pipeline_stages").list(), func(s node) bool { return s.get(typ).exists() })
}
