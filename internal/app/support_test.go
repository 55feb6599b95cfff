package app

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"log_capturer/internal/config"
	"log_capturer/internal/lifetime"
)

// A support bundle holds what it should, of the running agent, and none of the
// secrets that are in the configuration, in files and in the log.
func TestSupportBundle(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("hunter2-in-a-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse("test.yaml", fmt.Appendf(nil, `
data_dir: %s
container_monitor: {docker_host: "unix://%s/no.sock"}
sinks:
  - {type: loki, name: a, url: "http://127.0.0.1:1", bearer_token_file: %q, headers: {X-Key: "hunter2-header"}}
  - {type: loki, name: b, url: "http://127.0.0.1:1", basic_auth: {username: u, password: "hunter2-password"}}
server: {listen: "127.0.0.1:0"}
metrics: {listen: "127.0.0.1:0"}
pprof: {enabled: false}
`, filepath.Join(dir, "data"), dir, token), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	a := newApp(cfg, noReloads(), io.Discard, quiet())
	defer a.close()
	if err := a.make(); err != nil {
		t.Fatal(err)
	}
	// A discarding logger lets nothing through to be kept.
	a.recent.Keep(slog.New(slog.NewTextHandler(&bytes.Buffer{}, nil))).Info("oops", "header", "hunter2-header", "ok", "a message of the log")
	ctx, cancel := context.WithCancel(lifetime.WithWatch(t.Context(), a.overdue))
	ended := make(chan error, 1)
	go func() { ended <- a.run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	resp, err := client.Post("http://"+a.server.APIAddr()+"/api/v1/support-bundle", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	compressed, err := gzip.NewReader(resp.Body)
	if err != nil {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	files := map[string]string{}
	for archive := tar.NewReader(compressed); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		var content bytes.Buffer
		if _, err := io.Copy(&content, archive); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(content.String(), "hunter2") {
			t.Errorf("%s holds a secret: %s", header.Name, content.String())
		}
		files[filepath.Base(header.Name)] = content.String()
	}
	for name, want := range map[string]string{
		"config.yaml": "bearer_token_file: " + token, "metrics.txt": "log_capturer_goroutines ", "health.json": `"selfwatch"`,
		"leaks.json": `"verdict": "measuring"`, "status.json": `"data_dir"`, "containers.json": "null", "positions.json": "{}",
		"log.txt": "a message of the log", "goroutines.txt": "goroutine ", "heap.pb.gz": "",
	} {
		content, ok := files[name]
		if !ok || !strings.Contains(content, want) {
			t.Errorf("%s: there %v, want %q in %.300q", name, ok, want, content)
		}
	}
	if !strings.Contains(files["log.txt"], "header=<redacted>") {
		t.Errorf("log: %s", files["log.txt"])
	}
}
