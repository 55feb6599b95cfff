package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDocsExamples holds that every configuration in the documents is valid.
func TestDocsExamples(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(files) < 10 {
		t.Fatalf("documents are missing: %v, %v", files, err)
	}
	valid := 0
	for _, file := range append(files, "../../README.md") {
		if file == pipelineDocsFile {
			continue // its examples may be single stages: TestPipelineDocsExamples
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, block := range strings.Split(string(text), "```yaml\n")[1:] {
			example, _, closed := strings.Cut(block, "```")
			if !closed {
				t.Fatalf("%s: example %d has no end", file, i+1)
			}
			// Files of the machine that an example is for do not exist here.
			read := func(string) ([]byte, error) { return []byte("secret"), nil }
			if strings.Contains(example, "tls:") {
				read = readTestPEM(t)
			}
			if _, err := parse(filepath.Base(file), []byte(example), environment(), read); err != nil {
				t.Errorf("example %d:\n%s\n%v", i+1, example, err)
			}
			valid++
		}
	}
	if valid < 14 {
		t.Errorf("%d examples, want those that there are", valid)
	}
}
