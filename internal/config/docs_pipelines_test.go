package config

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"log_capturer/internal/pipeline"
)

const pipelineDocsFile = "../../docs/pipelines.md"

// TestPipelineDocs holds docs/pipelines.md against the types of the stages.
func TestPipelineDocs(t *testing.T) {
	comments := fieldComments(t)
	tables := map[string]string{
		"pipelines": table(comments, "", Pipeline{}, nil),
		"stages":    table(comments, "", pipeline.Common{}, nil),
	}
	for _, typ := range pipeline.Types() {
		tables["stage "+typ] = table(comments, "", reflect.ValueOf(pipeline.NewOptions(typ)).Elem().Interface(), nil)
	}
	checkTables(t, pipelineDocsFile, tables)
}

// The examples in docs/pipelines.md are valid.
func TestPipelineDocsExamples(t *testing.T) {
	text, err := os.ReadFile(pipelineDocsFile)
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```yaml\n")[1:]
	if len(blocks) < 5 {
		t.Fatalf("%d examples, want some", len(blocks))
	}
	for _, block := range blocks {
		example, _, _ := strings.Cut(block, "```")
		if !strings.Contains(example, "pipelines:") {
			// One stage or more of a pipeline.
			example = "pipelines:\n  - name: example\n    stages:\n      " + strings.ReplaceAll(strings.TrimSuffix(example, "\n"), "\n", "\n      ") + "\n"
		}
		if _, err := Parse("example", []byte(example), environment()); err != nil {
			t.Errorf("%s\n%v", example, err)
		}
	}
}
