package cli

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
)

// TestExamples runs the tests that stand beside the examples.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../../examples/*.test.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no example has tests: %v", err)
	}
	for _, file := range files {
		cfg := strings.TrimSuffix(file, ".test.yaml") + ".yaml"
		if got := runMain(context.Background(), nil, "test", "--config", cfg); got.code != ExitOK {
			t.Errorf("%s\n%s%s", file, got.stdout, got.stderr)
		}
	}
}
