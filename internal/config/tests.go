package config

import (
	"reflect"
	"strconv"
	"time"
)

// PipelineTests is a file of tests for the pipelines of a configuration.
type PipelineTests struct {
	// The tests.
	Tests []PipelineTest `yaml:"tests"`
}

// PipelineTest is one test: lines that go in, and records that come out.
type PipelineTest struct {
	// What the test shows.
	Name string `yaml:"name"`
	// The pipeline. Empty means the one that the source selects.
	Pipeline string `yaml:"pipeline"`
	// Where the lines come from.
	Source TestSource `yaml:"source"`
	// The lines. One is a text, or a section with more about it.
	Input []TestLine `yaml:"input"`
	// The records that come out, in their order. One is the text of its line,
	// or a section; what a section does not name is not compared.
	Expect []TestRecord `yaml:"expect"`
	// How many records are dropped, by their reason. Without this key it is not
	// compared.
	Dropped map[string]string `yaml:"dropped"`
}

// TestSource is where the lines of a test come from.
type TestSource struct {
	// The container's name.
	Container string `yaml:"container"`
	// The image that it was made from.
	Image string `yaml:"image"`
	// Its Compose project.
	ComposeProject string `yaml:"compose_project"`
	// Its Compose service.
	ComposeService string `yaml:"compose_service"`
	// Its labels.
	Labels map[string]string `yaml:"labels"`
	// The path of a file that is no container's.
	File string `yaml:"file"`
}

// TestLine is a line that goes in.
type TestLine struct {
	// The line.
	Line string `yaml:"line"`
	// The stream that it was written to.
	Stream string `yaml:"stream" oneof:"stdout stderr"`
	// The time of its capture, as in 2026-01-02T15:04:05Z. Empty means a second
	// after the line before it; the first line is of 2026-01-01T00:00:00Z.
	Time string `yaml:"time"`
}

// TestRecord is a record that comes out. Nil means that a key is not compared.
type TestRecord struct {
	// The line.
	Line *string `yaml:"line"`
	// The time, as in 2026-01-02T15:04:05Z.
	Time *string `yaml:"time"`
	// The level.
	Level *string `yaml:"level"`
	// All attributes and their values.
	Fields map[string]string `yaml:"fields"`
	// All labels and their values.
	Labels map[string]string `yaml:"labels"`
	// The sinks that the record goes to.
	Sinks []string `yaml:"sinks"`
	// How many lines it covers.
	Records *int `yaml:"records" min:"1"`
}

func (l *TestLine) decodeNode(d *decoder, n *node, path string) {
	l.Stream = "stdout"
	if n.kind == scalar {
		l.Line, _ = d.scalar(n, path, "a text")
		return
	}
	d.decodeStruct(n, reflect.ValueOf(l).Elem(), path)
}

func (r *TestRecord) decodeNode(d *decoder, n *node, path string) {
	if n.kind == scalar {
		if text, ok := d.scalar(n, path, "a text"); ok {
			r.Line = &text
		}
		return
	}
	d.decodeStruct(n, reflect.ValueOf(r).Elem(), path)
}

// LoadPipelineTests reads a file of tests for c's pipelines. Variables of the
// environment are not put in: a line of a log is what it is.
func (c *Config) LoadPipelineTests(path string) (*PipelineTests, error) {
	data, err := readFile(path, maxFileBytes)
	if err != nil {
		return nil, err
	}
	d := &decoder{file: path, literal: true, set: map[string]position{}, failed: map[string]bool{}}
	root := parseSyntax(data, func(pos position, message string) { d.fail(pos, "", "%s", message) })
	tests := &PipelineTests{}
	if root != nil {
		d.decode(root, reflect.ValueOf(tests).Elem(), "", "")
		v := validator{decoder: d}
		v.pipelineTests(tests, c)
	}
	if len(d.errs) > 0 {
		d.errs.sort()
		return nil, d.errs
	}
	return tests, nil
}

func (v validator) pipelineTests(tests *PipelineTests, c *Config) {
	if len(tests.Tests) == 0 {
		v.wrong("tests", "is empty; give a test")
	}
	names := map[string]bool{}
	var pipelines []string
	for _, p := range c.Pipelines {
		pipelines = append(pipelines, p.Name)
	}
	for i := range tests.Tests {
		t, path := &tests.Tests[i], "tests["+strconv.Itoa(i)+"]"
		if t.Name == "" || names[t.Name] {
			v.wrong(path+".name", "want a name of its own for each test, not %q", shorten(t.Name))
		}
		names[t.Name] = true
		if len(t.Input) == 0 {
			v.wrong(path+".input", "is empty; give a line")
		}
		if t.Pipeline != "" {
			if message := notOneOf(t.Pipeline, pipelines); message != "" {
				v.wrong(path+".pipeline", "%s", message)
			}
		}
		for j, line := range t.Input {
			if _, err := time.Parse(time.RFC3339Nano, line.Time); err != nil && line.Time != "" {
				v.wrong(path+".input["+strconv.Itoa(j)+"].time", "want a time such as 2026-01-02T15:04:05Z, not %q", shorten(line.Time))
			}
		}
		for reason, text := range t.Dropped {
			if !isDigits(text) {
				v.wrong(path+".dropped."+reason, "want a whole number, not %q", shorten(text))
			}
		}
	}
}
