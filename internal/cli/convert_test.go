package cli

import (
	"os"
	"path/filepath"
	"testing"

	"log_capturer/internal/config"
	"log_capturer/internal/pipeline"
	"log_capturer/internal/promtail"
)

// What is converted is a valid configuration, whose pipelines compile.
func TestConvertedConfigurationsAreValid(t *testing.T) {
	files, err := filepath.Glob("../promtail/testdata/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text, _, err := promtail.Convert(data)
		if err != nil {
			t.Fatal(err)
		}
		// Variables without a default have to be there.
		set := map[string]string{"LOKI_USER": "user", "LOKI_TOKEN": "token"}
		c, err := config.Parse(file, text, func(name string) (string, bool) {
			value, ok := set[name]
			return value, ok
		})
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if _, err := c.CompilePipelines(pipeline.NewMetrics()); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}
