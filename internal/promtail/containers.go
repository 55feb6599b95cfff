package promtail

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
)

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
		var either []string
		values := filter.get("values").list()
		switch filter.get("name").text() {
		case "name":
			for _, value := range values {
				pattern := value.text()
				if checkPattern(pattern) != nil {
					c.note(value, "is not carried over: it is no regular expression")
					continue
				}
				either = append(either, matches(`("/" + container)`, strings.Replace(pattern, "^", "^/?", 1)))
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
		if len(either) > 0 {
			conditions = append(conditions, "("+strings.Join(either, " or ")+")")
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
