package promtail

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
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

// plainGlob is a part of a name in which no character of expressions is one.
var plainGlob = regexp.MustCompile(`^[A-Za-z0-9_./-]+$`)

// dockerJob finds out which containers a job takes, and false where these are
// none of the engine's.
func (c *converter) dockerJob(n, configs node) (j job, ok bool) {
	j = job{node: n, bounded: true}
	var names, labels []any
	for _, config := range configs.list() {
		if host := config.get("host").text(); host != "" {
			if c.host != "" && host != c.host {
				c.note(config.get("host"), "is not carried over: an agent reads the containers of one engine, and it is that at %s; run one agent on each machine", c.host)
				continue
			}
			c.host = host
		}
		ok = true
		of, ls, condition, simple := c.filters(config.get("filters"))
		names, labels = append(names, of...), append(labels, ls...)
		if condition == "" {
			j.bounded = false
		}
		switch {
		case len(configs.list()) > 1:
			j.condition = or(j.condition, condition)
		case !simple:
			j.condition, names, labels = condition, nil, nil
		default:
			j.condition = condition
			j.selection = selectionOf(of, ls)
		}
		c.leftOver(config, "host", "filters", "refresh_interval", "port", "host_networking_host", "match_first_network")
	}
	if !j.bounded {
		j.condition = ""
	}
	if !ok {
		return j, false
	}
	if len(j.selection) > 0 {
		c.names, c.containerLabels = append(c.names, names...), append(c.containerLabels, labels...)
		return j, ok
	}
	j.selection = yaml.MapSlice{item("names", []any{"*"})}
	j.filtered = j.condition != ""
	c.unbounded = true
	return j, ok
}

func selectionOf(names, labels []any) yaml.MapSlice {
	selection := yaml.MapSlice{}
	if len(names) > 0 {
		selection = append(selection, item("names", names))
	}
	if len(labels) > 0 {
		selection = append(selection, item("labels", labels))
	}
	return selection
}

// filters returns the patterns of the engine's filters, and the condition that
// they stand for; simple says that one of the patterns is as good as that.
func (c *converter) filters(list node) (names, labels []any, condition string, simple bool) {
	var conditions []string
	simple = true
	for _, filter := range list.list() {
		var any []string
		values := filter.get("values").list()
		switch filter.get("name").text() {
		case "name":
			for _, value := range values {
				pattern := value.text()
				if checkPattern(pattern) != nil {
					c.note(value, "is not carried over: it is no regular expression")
					continue
				}
				any = append(any, matches(`("/" + container)`, strings.Replace(pattern, "^", "^/?", 1)))
				part := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(pattern, "^"), "/"), "^"), "$")
				glob := part
				if !strings.HasPrefix(pattern, "^") && !strings.HasPrefix(pattern, "/") {
					glob = "*" + glob
				}
				if !strings.HasSuffix(pattern, "$") {
					glob += "*"
				}
				if !plainGlob.MatchString(part) || strings.Contains(part, ".") {
					simple = false
				}
				names = append(names, escape(glob))
			}
		case "label":
			// All of them have to be there.
			for _, value := range values {
				key, text, hasValue := strings.Cut(value.text(), "=")
				if hasValue {
					conditions = append(conditions, `(get(container_labels, `+quote(key)+`) ?? "") == `+quote(text))
				} else {
					conditions = append(conditions, `get(container_labels, `+quote(key)+`) != nil`)
				}
				simple = simple && len(values) == 1 && !strings.ContainsAny(text, `*?[\`)
				labels = append(labels, escape(value.text()))
			}
		case "status":
			if len(values) == 1 && values[0].text() == "running" {
				continue // Promtail sees no others, and the end of one is read here.
			}
			c.note(filter, "is not carried over: containers are captured from their start to their end")
			continue
		default:
			c.note(filter, "is not carried over, so that more containers are taken: they are chosen by name, image and label; see container_monitor.include")
			continue
		}
		if len(any) > 0 {
			conditions = append(conditions, "("+strings.Join(any, " or ")+")")
		}
	}
	if len(names) > 0 && len(labels) > 0 {
		simple = false
	}
	return names, labels, and(conditions...), simple
}

func or(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return "(" + a + ") or (" + b + ")"
}

// dockerPipelines makes the pipelines of the jobs of containers. A container goes
// through one pipeline here: with several jobs, that pipeline tells which of them
// the container belongs to.
func (c *converter) dockerPipelines(jobs []job) {
	jobs, conditions := c.withSources(jobs)
	if len(jobs) == 1 {
		j := jobs[0]
		p := newPipeline(c, containers)
		c.finish(p, j.get("job_name").text(), j.selection, 0, func() {
			if j.filtered {
				p.stage("filter", item("keep", escape(j.condition)), item("reason", "filters"))
			}
			p.relabelAll(j.get("relabel_configs"))
			p.allStages(j.get("pipeline_stages"))
		})
		return
	}
	if len(jobs) == 0 {
		return
	}
	p := newPipeline(c, containers)
	mark := temporary + "job"
	choice := "0"
	for i, condition := range slices.Backward(conditions) {
		number := strconv.Itoa(i + 1)
		if condition == "" {
			choice = number
		} else {
			choice = condition + " ? " + number + " : (" + choice + ")"
		}
	}
	c.finish(p, jobs[0].get("job_name").text(), yaml.MapSlice{item("names", []any{"*"})}, 0, func() {
		p.set(mark, choice)
		p.extracted[temporary+"*"] = true
		if !slices.Contains(conditions, "") {
			p.stage("filter", item("drop", field(mark)+" == 0"), item("reason", "relabel"))
		}
		known := map[string]bool{}
		for i, j := range jobs {
			if i > 0 {
				c.note(j.node, "a container that job %q takes as well goes through that one alone, where Promtail sends its lines for both", jobs[i-1].get("job_name").text())
			}
			p.condition, p.chosen = fmt.Sprintf("%s == %d", field(mark), i+1), true
			p.labels, p.defined = map[string]bool{}, map[string]string{}
			p.relabelAll(j.get("relabel_configs"))
			p.allStages(j.get("pipeline_stages"))
			maps.Copy(known, p.labels)
		}
		p.condition, p.labels = "", known
	})
}

// withSources returns the jobs that containers are left for, with the conditions
// on which these take one. Those that take some containers go before the one that
// takes all.
func (c *converter) withSources(jobs []job) (list []job, conditions []string) {
	var all []job
	for _, j := range jobs {
		condition := and(j.condition, c.ownCondition(j.get("relabel_configs")))
		if condition == "" {
			all = append(all, j)
			continue
		}
		list, conditions = append(list, j), append(conditions, condition)
	}
	for i, j := range all {
		if i > 0 {
			c.note(j.node, "is not carried over: job %q takes every container already, and a container goes through one pipeline", all[0].get("job_name").text())
			continue
		}
		list, conditions = append(list, j), append(conditions, "")
	}
	return list, conditions
}

// ownCondition returns the condition by which rules keep containers.
func (c *converter) ownCondition(rules node) string {
	quiet := newPipeline(&converter{labelNames: map[string]bool{}, metrics: map[string]*metricUse{}}, containers)
	var conditions []string
	for _, rule := range rules.list() {
		if condition := quiet.keeps(rule); condition != "" {
			conditions = append(conditions, condition)
			continue
		}
		quiet.relabel(rule)
	}
	return and(conditions...)
}

// podJob makes a file set of the pods of this machine.
func (c *converter) podJob(n, configs node) job {
	c.note(configs, "the files below /var/log/pods are read: the namespace, the pod and the container are known from their paths, and nothing else of a pod")
	pattern := "/var/log/pods/*/*/*.log"
	cri := hasStage(n, "cri")
	c.addFiles(configs, pattern, yaml.MapSlice{item("include", []any{pattern}), item("format", format(cri))})
	return job{node: n, kind: pods, selection: yaml.MapSlice{item("files", []any{pattern})}, cri: cri}
}

// fileJob makes file sets of a job's static targets.
func (c *converter) fileJob(n, configs node) job {
	j := job{node: n, kind: files, cri: hasStage(n, "cri")}
	var patterns []any
	var sets []yaml.MapSlice
	for _, config := range configs.list() {
		var labels yaml.MapSlice
		at := config.get("labels").get("__path__")
		if at.text() == "" {
			c.note(config, "is not carried over: it has no __path__")
			continue
		}
		include := c.paths(at, at.text())
		if len(include) == 0 {
			continue
		}
		var exclude []any
		for _, e := range config.get("labels").entries() {
			switch {
			case e.key == "__path__":
			case e.key == "__path_exclude__":
				exclude = c.paths(e.value, e.value.text())
			case strings.HasPrefix(e.key, "__"):
				if e.key != "__address__" {
					c.note(e.value, "is not carried over: it is no label of what is sent, and nothing corresponds to it")
				}
			default:
				labels = append(labels, item(e.key, e.value.text()))
			}
		}
		set := yaml.MapSlice{item("include", include)}
		if len(exclude) > 0 {
			set = append(set, item("exclude", exclude))
		}
		if len(labels) > 0 {
			set = append(set, item("labels", escaped(labels)))
		}
		set = append(set, item("format", format(j.cri)))
		c.addFiles(at, at.text(), set)
		patterns = append(patterns, include...)
		sets = append(sets, labels)
		c.leftOver(config, "targets", "labels")
	}
	if len(patterns) == 0 {
		return j
	}
	j.selection = yaml.MapSlice{item("files", patterns)}
	j.fixed = fixedLabels(sets)
	return j
}

// format is how the lines of files are written: Promtail takes them as they are
// without the stage cri.
func format(cri bool) string {
	if cri {
		return "cri"
	}
	return "plain"
}

// fixedLabels returns the expressions of the labels of file sets: constants where
// all sets have the same.
func fixedLabels(sets []yaml.MapSlice) yaml.MapSlice {
	var fixed yaml.MapSlice
	seen := map[any]bool{}
	for _, set := range sets {
		for _, l := range set {
			if seen[l.Key] {
				continue
			}
			seen[l.Key] = true
			same := !slices.ContainsFunc(sets, func(other yaml.MapSlice) bool {
				return !slices.ContainsFunc(other, func(o yaml.MapItem) bool { return o == l })
			})
			name, _ := l.Key.(string)
			value, _ := l.Value.(string)
			expression := "get(container_labels, " + quote(name) + ")"
			if same {
				expression = quote(value)
			}
			fixed = append(fixed, item(name, expression))
		}
	}
	return fixed
}

// escaped returns the entries of a mapping as a configuration has them.
func escaped(values yaml.MapSlice) yaml.MapSlice {
	var list yaml.MapSlice
	for _, v := range values {
		text, _ := v.Value.(string)
		list = append(list, item(fmt.Sprint(v.Key), escape(text)))
	}
	return list
}

// addFiles adds a file set, and says where files are in one before it as well.
func (c *converter) addFiles(n node, pattern string, set yaml.MapSlice) {
	for _, earlier := range c.patterns {
		if overlap(earlier, pattern) {
			c.note(n, "files that %s matches as well are read once, with its labels, where Promtail sends their lines for both", earlier)
			break
		}
	}
	c.patterns = append(c.patterns, pattern)
	c.fileSets = append(c.fileSets, set)
}

// overlap reports whether two patterns obviously match some file both.
func overlap(a, b string) bool {
	plain := func(s string) string { return strings.NewReplacer("*", "x", "?", "x").Replace(s) }
	ab, _ := path.Match(a, plain(b))
	ba, _ := path.Match(b, plain(a))
	return ab || ba || a == b
}

// paths returns the patterns of files that one of Promtail stands for.
func (c *converter) paths(n node, text string) []any {
	var list []any
	all := braces(strings.TrimSpace(text))
	if len(all) == maxPatterns {
		c.note(n, "stands for very many patterns: more than %d are left out", maxPatterns)
	}
	for _, pattern := range all {
		switch {
		case !strings.HasPrefix(pattern, "/") && !strings.HasPrefix(pattern, dollar):
			c.note(n, "is not carried over: %q is no absolute path", pattern)
			continue
		case strings.HasSuffix(pattern, "/"):
			c.note(n, "is not carried over: %q is a directory", pattern)
			continue
		case compressed.MatchString(pattern):
			c.note(n, "files that are compressed are left out")
		}
		if pattern = strings.ReplaceAll(pattern, "[^", "[!"); strings.HasSuffix(pattern, "/**") {
			pattern += "/*"
		}
		pattern = strings.NewReplacer("{", "{{", "}", "}}").Replace(pattern)
		list = append(list, escape(bracesOfVariables.ReplaceAllString(pattern, dollar+"{$1}")))
	}
	return list
}

var compressed = regexp.MustCompile(`\.(?:gz|zst|bz2|xz|lz4|zip)$`)

// maxPatterns is how many patterns one may stand for.
const maxPatterns = 64

// braces returns the patterns that one with {a,b} in it stands for.
func braces(pattern string) []string {
	for from := 0; ; {
		open := strings.IndexByte(pattern[from:], '{')
		if open < 0 {
			return []string{pattern}
		}
		open += from
		end := strings.IndexByte(pattern[open:], '}')
		if end < 0 {
			return []string{pattern}
		}
		if strings.HasSuffix(pattern[:open], dollar) {
			from = open + end
			continue
		}
		var list []string
		for _, alternative := range strings.Split(pattern[open+1:open+end], ",") {
			if len(list) >= maxPatterns {
				break
			}
			list = append(list, braces(pattern[:open]+alternative+pattern[open+end+1:])...)
		}
		return list[:min(len(list), maxPatterns)]
	}
}

// hasStage reports whether a job has a stage of a type at its top.
func hasStage(job node, typ string) bool {
	return slices.ContainsFunc(job.get("pipeline_stages").list(), func(s node) bool { return s.get(typ).exists() })
}
