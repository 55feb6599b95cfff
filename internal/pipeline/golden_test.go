package pipeline_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"go.uber.org/goleak"

	"log_capturer/internal/config"
	"log_capturer/internal/pipeline"
	"log_capturer/internal/record"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// captured is the time of the first line of each golden; the others follow a
// second apart.
var captured = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var source = &record.Source{
	Key: "container/1", Host: "node-1", ContainerID: "0123456789abcdef", ContainerName: "web-1", Image: "shop/web:2",
	ComposeProject: "shop", ComposeService: "web", Labels: map[string]string{"tier": "front"},
}

var sinkNames = []string{"local_file", "central"}

// compiled returns the pipeline of stages in YAML.
func compiled(t testing.TB, stages string, metrics *pipeline.Metrics) *pipeline.Pipeline {
	t.Helper()
	table, err := tableOf(stages, metrics)
	if err != nil {
		t.Fatalf("%s\n%v", stages, err)
	}
	return table.Named("p")
}

func tableOf(stages string, metrics *pipeline.Metrics) (*pipeline.Table, error) {
	text := "sinks: [{type: local_file}, {type: loki, name: central, url: http://loki:3100}]\n" +
		"pipelines:\n- name: p\n  stages:\n" + indented(stages)
	cfg, err := config.Parse("stages", []byte(text), func(string) (string, bool) { return "", false })
	if err != nil {
		return nil, err
	}
	return cfg.CompilePipelines(metrics)
}

func indented(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  ") + "\n"
}

// TestGoldens runs the lines of each file of testdata through its stages. A
// line of the input may begin with "stderr|", and may be in quotes of Go.
func TestGoldens(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	seen := map[string]bool{}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			stages, input := string(archive.Files[0].Data), string(archive.Files[1].Data)
			for _, typ := range pipeline.Types() {
				if strings.Contains(stages, "type: "+typ) {
					seen[typ] = true
				}
			}
			got := golden(t, stages, input)
			if *update {
				archive.Files = append(archive.Files[:2], txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if len(archive.Files) != 3 || string(archive.Files[2].Data) != got {
				t.Errorf("got (run with -update to accept)\n%s", got)
			}
		})
	}
	for _, typ := range pipeline.Types() {
		if !seen[typ] {
			t.Errorf("no golden has a stage of type %s", typ)
		}
	}
}

// golden returns what becomes of the input, and fails the test unless each of
// its lines is accounted for.
func golden(t *testing.T, stages, input string) string {
	t.Helper()
	metrics := pipeline.NewMetrics()
	p := compiled(t, stages, metrics)
	var out strings.Builder
	in, covered, dropped := 0, 0, 0
	watch := &pipeline.Observer{Dropped: func(_ int, e *pipeline.Event, reason string) {
		dropped += e.Count
		fmt.Fprintf(&out, "dropped (%s): %s\n\n", reason, e.Line)
	}}
	run := p.Open(source, func(e *pipeline.Event) {
		covered += e.Count
		fmt.Fprintf(&out, "%s\n", pipeline.Describe(e, sinkNames))
	}, watch)
	for line := range strings.Lines(input) {
		line = strings.TrimSuffix(line, "\n")
		stream := record.Stdout
		if rest, ok := strings.CutPrefix(line, "stderr|"); ok {
			stream, line = record.Stderr, rest
		}
		if unquoted, err := strconv.Unquote(line); err == nil {
			line = unquoted
		}
		at := captured.Add(time.Duration(in) * time.Second).UnixNano()
		in++
		e := pipeline.Event{Source: source, Stream: stream, Line: []byte(line), Time: at, Captured: at, After: record.Anchor{Seq: uint64(in)}}
		run.Process(&e)
	}
	run.Close()
	if run.Holds() {
		t.Error("something is held after the end")
	}
	if in != covered+dropped {
		t.Errorf("%d lines, of which %d came out and %d were dropped", in, covered, dropped)
	}
	return out.String()
}
