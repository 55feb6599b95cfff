package cli

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"log_capturer/internal/config"
	"log_capturer/internal/promtail"
)

// What is converted is a valid configuration.
func TestConvertedConfigurationsAreValid(t *testing.T) {
	files, err := filepath.Glob("../promtail/testdata/*.yaml")
	if err != nil || len(files) < 2 {
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
		_, err = config.Parse(file, text, func(string) (string, bool) { return "", false })
		// Sections that this build does not have yet are none of the converter's
		// mistakes.
		if list, ok := errors.AsType[config.Errors](err); ok {
			noFiles := slices.ContainsFunc(list, func(e *config.Error) bool { return e.Path == "file_monitor" })
			list = slices.DeleteFunc(list, func(e *config.Error) bool {
				return e.Path == "pipelines" || e.Path == "file_monitor" || noFiles && strings.Contains(e.Message, "file_path")
			})
			for _, e := range list {
				t.Error(e)
			}
		} else if err != nil {
			t.Error(err)
		}
	}
}
