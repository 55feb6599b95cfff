package pipeline_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"log_capturer/internal/config"
	"log_capturer/internal/pipeline"
	"log_capturer/internal/record"
)

const threePipelines = `
sinks: [{type: local_file}, {type: stdout}]
pipelines:
  - {name: web, select: {names: ["web-*"], services: [shop/web]}, stages: [{type: level}]}
  - {name: shop, select: {services: [api], images: ["*/shop:*"], labels: ["tier=front", team]}, stages: [{type: level}]}
  - {name: files, select: {files: ["/var/log/*.log"]}, stages: [{type: level}]}
  - {name: by_label, stages: [{type: level}]}
`

// chosen says how a source is treated: its pipeline, the number of its stages,
// its sinks and the warnings.
func chosen(table *pipeline.Table, src *record.Source) string {
	c := table.For(src)
	text := "none"
	if c.Pipeline != nil {
		text = fmt.Sprintf("%s/%d", c.Pipeline.Name(), c.Pipeline.Len())
	}
	if c.Sinks != 0 {
		text += " to " + strings.Join(c.Sinks.Names([]string{"local_file", "stdout"}), ",")
	}
	if len(c.Warnings) > 0 {
		text += " (" + strings.Join(c.Warnings, "; ") + ")"
	}
	return text
}

func TestSelection(t *testing.T) {
	cfg, err := config.Parse("c", []byte(threePipelines), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	table, err := cfg.CompilePipelines(pipeline.NewMetrics())
	if err != nil {
		t.Fatal(err)
	}
	f := func(what string, src record.Source, want string) {
		t.Helper()
		if src.Key == "" {
			src.Key = "container/1"
		}
		if got := chosen(table, &src); got != want {
			t.Errorf("%s: got %s, want %s", what, got, want)
		}
	}
	labels := func(pairs ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	f("nothing", record.Source{ContainerName: "db"}, "none")
	f("a name", record.Source{ContainerName: "web-1"}, "web/1")
	f("a service with its project", record.Source{ComposeProject: "shop", ComposeService: "web"}, "web/1")
	f("a service of another project", record.Source{ComposeProject: "x", ComposeService: "web"}, "none")
	f("a service", record.Source{ComposeProject: "x", ComposeService: "api"}, "shop/1")
	f("an image", record.Source{Image: "registry/a/shop:1"}, "shop/1")
	f("the value of a label", record.Source{Labels: labels("tier", "front")}, "shop/1")
	f("another value", record.Source{Labels: labels("tier", "back")}, "none")
	f("a label", record.Source{Labels: labels("team", "")}, "shop/1")
	f("the first that fits", record.Source{ContainerName: "web-1", Labels: labels("team", "")}, "web/1")
	f("a file", record.Source{Key: "file//var/log/a.log", FilePath: "/var/log/a.log"}, "files/1")
	f("a file further down", record.Source{Key: "file//var/log/x/a.log", FilePath: "/var/log/x/a.log"}, "none")
	f("a container with such a name", record.Source{Key: "container//var/log/a.log"}, "none")

	f("a label that names one", record.Source{ContainerName: "web-1", Labels: labels(pipeline.PipelineLabel, "by_label")}, "by_label/1")
	f("a label that names none", record.Source{ContainerName: "web-1", Labels: labels(pipeline.PipelineLabel, "none")}, "none")
	f("a label that names nothing", record.Source{ContainerName: "web-1", Labels: labels(pipeline.PipelineLabel, "x")},
		`web/1 (label log_capturer.pipeline: there is no pipeline "x")`)
	f("sinks", record.Source{Labels: labels(pipeline.SinksLabel, "stdout")}, "none to stdout")
	f("a sink that is none", record.Source{Labels: labels(pipeline.SinksLabel, "stdout, x")},
		`none to stdout (label log_capturer.sinks: there is no sink " x")`)
	f("multiline", record.Source{ContainerName: "web-1", Labels: labels(pipeline.MultilineLabel, "java")}, "web/2")
	f("multiline alone", record.Source{Labels: labels(pipeline.MultilineLabel, `start:^\d`)}, "labels/1")
	f("a bad pattern", record.Source{Labels: labels(pipeline.MultilineLabel, `start:(`)},
		"none (label log_capturer.multiline: stages[0].start: error parsing regexp: missing closing ): `(`)")
	f("Elastic's", record.Source{Labels: labels("co.elastic.logs/multiline.pattern", "^x", "co.elastic.logs/multiline.negate", "true",
		"co.elastic.logs/multiline.match", "after")}, "labels/1")
	f("Elastic's before", record.Source{Labels: labels("co.elastic.logs/multiline.pattern", "^x", "co.elastic.logs/multiline.match", "before")}, "labels/1")
	f("Elastic's beside", record.Source{Labels: labels("co.elastic.logs/multiline.pattern", "^x", "co.elastic.logs/multiline.match", "beside")},
		`none (label co.elastic.logs/multiline.match: want after or before, not "beside")`)
}

func TestEnabled(t *testing.T) {
	f := func(enabled bool, by string, pairs ...string) {
		t.Helper()
		labels := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			labels[pairs[i]] = pairs[i+1]
		}
		if e, b := pipeline.Enabled(labels); e != enabled || b != by {
			t.Errorf("%v: %v by %q", labels, e, b)
		}
	}
	const elastic = "co.elastic.logs/enabled"
	f(true, "")
	f(false, pipeline.EnableLabel, pipeline.EnableLabel, "false")
	f(true, pipeline.EnableLabel, pipeline.EnableLabel, "TRUE")
	f(true, "", pipeline.EnableLabel, "perhaps")
	f(false, elastic, elastic, "false")
	f(true, pipeline.EnableLabel, pipeline.EnableLabel, "true", elastic, "false")
	f(false, "LOGSPOUT", "LOGSPOUT", "Ignore")
	f(true, "", "LOGSPOUT", "yes")
	f(true, pipeline.EnableLabel, pipeline.EnableLabel, "true", "LOGSPOUT", "ignore")
}

func TestIgnored(t *testing.T) {
	f := func(want bool, environment ...string) {
		t.Helper()
		if got := pipeline.Ignored(environment); got != want {
			t.Errorf("%q: %v", environment, got)
		}
	}
	f(false)
	f(true, "A=b", "LOGSPOUT=ignore")
	f(true, "LOGSPOUT=IGNORE")
	f(false, "LOGSPOUT=ignored", "XLOGSPOUT=ignore", "LOGSPOUT", "A=LOGSPOUT=ignore")
}

// A label's multiline stage joins as it says, before the container's pipeline.
func TestLabelsJoin(t *testing.T) {
	table, err := tableOf("- {type: set, values: {a: '1'}}", pipeline.NewMetrics())
	if err != nil {
		t.Fatal(err)
	}
	f := func(want []string, labels map[string]string) {
		t.Helper()
		labels[pipeline.PipelineLabel] = "p"
		src := &record.Source{Key: "container/1", Labels: labels}
		var got []string
		run := table.For(src).Pipeline.Open(src, func(e *pipeline.Event) {
			got = append(got, string(e.Line))
			if _, ok := e.Get("a"); !ok {
				t.Errorf("%q did not go through the pipeline", e.Line)
			}
		}, nil)
		for _, line := range []string{"[1] a", "b", "[2] c", "d", "e"} {
			run.Process(&pipeline.Event{Source: src, Line: []byte(line)})
		}
		run.Close()
		if !slices.Equal(got, want) {
			t.Errorf("%v: got %q, want %q", labels, got, want)
		}
	}
	starts := []string{"[1] a\nb", "[2] c\nd\ne"}
	f(starts, map[string]string{"log_capturer.multiline": `start:^\[`})
	f(starts, map[string]string{"log_capturer.multiline": `continuation:^[a-z]`})
	f([]string{"[1] a\nb", "[2] c\nd", "e"}, map[string]string{"log_capturer.multiline": `end:^[bd]`})
	f([]string{"[1] a\nb", "[2] c\nd", "e"}, map[string]string{"log_capturer.multiline": `unfinished:^\[`})
	elastic := func(pattern, negate, match string) map[string]string {
		return map[string]string{
			"co.elastic.logs/multiline.pattern": pattern, "co.elastic.logs/multiline.negate": negate, "co.elastic.logs/multiline.match": match,
		}
	}
	// The four that Filebeat documents.
	f(starts, elastic(`^[a-z]`, "false", "after"))
	f(starts, elastic(`^\[`, "true", "after"))
	f([]string{"[1] a\nb", "[2] c\nd", "e"}, elastic(`^\[`, "false", "before"))
	f([]string{"[1] a\nb", "[2] c\nd", "e"}, elastic(`^[bd]`, "true", "before"))
	f(starts, elastic(`^[a-z]`, "", ""))
}
