package loki

import (
	"testing"

	"log_capturer/internal/record"
)

// The labels that the configuration gives a file are labels of its stream, where
// the sink's own have none of their name; those of a container are not.
func TestLabelsOfFiles(t *testing.T) {
	s := newSink(t, Options{URL: "http://127.0.0.1:1", Labels: map[string]string{
		"job": "x", "filename": "{file_path}", "pod": "{pod}", "team": "{label.owner}",
	}})
	f := func(src *record.Source, want string) {
		t.Helper()
		if got := s.fixed.Of(src, record.Stdout).stream; got != want {
			t.Errorf("stream %q, want %q", got, want)
		}
	}
	labels := map[string]string{"owner": "red", "app": "shop", "job": "other", "bad-name": "x", "empty": ""}
	f(&record.Source{FilePath: "/var/log/a.log", Labels: labels},
		`{app="shop", filename="/var/log/a.log", job="x", owner="red", team="red"}`)
	f(&record.Source{FilePath: "/p/0.log", Pod: "web-1"}, `{filename="/p/0.log", job="x", pod="web-1"}`)
	f(&record.Source{ContainerName: "web", Labels: labels}, `{job="x", team="red"}`)
}
