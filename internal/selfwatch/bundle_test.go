package selfwatch

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// unpack returns the files of a bundle.
func unpack(t *testing.T, bundle []byte) map[string]string {
	t.Helper()
	compressed, err := gzip.NewReader(bytes.NewReader(bundle))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for archive := tar.NewReader(compressed); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = string(content)
	}
}

func TestBundle(t *testing.T) {
	text := func(name, content string) File {
		return File{name, func(w io.Writer) error { _, err := io.WriteString(w, content); return err }}
	}
	files := append([]File{
		text("a.txt", "token hunter2-long and hunter2, short abc"),
		text("p.pb.gz", "hunter2 in a binary file is no text"),
		{"broken.txt", func(w io.Writer) error {
			_, _ = io.WriteString(w, "half")
			return errors.New("no disk, hunter2")
		}},
	}, ProfileFiles()...)
	var b bytes.Buffer
	if err := WriteBundle(&b, t0, []string{"hunter2-long", "hunter2", "abc"}, files); err != nil {
		t.Fatal(err)
	}
	const folder = "log_capturer-support-20260102T030405Z/"
	got := unpack(t, b.Bytes())
	for name, want := range map[string]string{
		"a.txt": "token <redacted> and <redacted>, short abc", "p.pb.gz": "hunter2 in a binary file is no text",
		"broken.txt.error.txt": "no disk, <redacted>\n",
	} {
		if got[folder+name] != want {
			t.Errorf("%s holds %q, want %q", name, got[folder+name], want)
		}
	}
	if !strings.Contains(got[folder+"goroutines.txt"], "TestBundle") || len(got[folder+"heap.pb.gz"]) < 100 {
		t.Errorf("profiles are missing: %d files", len(got))
	}
}

func TestRecentKeepsTheLastMessages(t *testing.T) {
	var shown bytes.Buffer
	recent := &Recent{}
	logger := recent.Keep(slog.New(slog.NewTextHandler(&shown, &slog.HandlerOptions{Level: slog.LevelInfo}))).With("a", 1).WithGroup("g")
	logger.Debug("left out")
	logger.Info("taken", "k", "v")
	var kept bytes.Buffer
	if _, err := recent.WriteTo(&kept); err != nil {
		t.Fatal(err)
	}
	if kept.String() != shown.String() || !strings.Contains(kept.String(), "msg=taken a=1 g.k=v") {
		t.Errorf("shown %q, kept %q", shown.String(), kept.String())
	}
	for i := range 3 * maxRecentLines {
		fmt.Fprintf(recent, "line %d\n", i)
	}
	kept.Reset()
	if _, err := recent.WriteTo(&kept); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(kept.String()), "\n")
	if len(lines) != maxRecentLines || lines[len(lines)-1] != fmt.Sprint("line ", 3*maxRecentLines-1) {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
	for range 10 {
		if _, err := recent.Write(bytes.Repeat([]byte("x"), maxRecentBytes/3)); err != nil {
			t.Fatal(err)
		}
	}
	if len(recent.lines) != 3 || recent.bytes > maxRecentBytes {
		t.Errorf("%d lines of %d bytes are kept", len(recent.lines), recent.bytes)
	}
}

func TestRecentMayBeWrittenWhileItIsRead(t *testing.T) {
	recent := &Recent{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 5000 {
			_, _ = recent.Write([]byte("a line\n"))
		}
	}()
	for range 50 {
		if _, err := recent.WriteTo(io.Discard); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Millisecond)
	}
	<-done
}
