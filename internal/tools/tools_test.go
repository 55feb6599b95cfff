package tools

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"log_capturer/internal/cli"
	"log_capturer/internal/record"
	"log_capturer/internal/record/recordtest"
	"log_capturer/internal/server"
	"log_capturer/internal/spool"
	"log_capturer/internal/testkit/pty"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run runs a command as the command line does.
func run(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	env := cli.Env{Stdout: &out, Stderr: &errs, LookupEnv: os.LookupEnv}
	code = cli.Main(context.Background(), args, env, cli.Agent{Tools: All()})
	return code, out.String(), errs.String()
}

// want runs a command and holds what it says to these texts.
func want(t *testing.T, code int, texts []string, args ...string) string {
	t.Helper()
	got, stdout, stderr := run(args...)
	if got != code {
		t.Errorf("%q: status %d, want %d\n%s%s", args, got, code, stdout, stderr)
	}
	for _, text := range texts {
		if !strings.Contains(stdout+stderr, text) {
			t.Errorf("%q: no %q in\n%s%s", args, text, stdout, stderr)
		}
	}
	return stdout
}

// watched runs a command whose standard error is a terminal, and returns what
// that showed. In a pipe it has to be quiet.
func watched(t *testing.T, args ...string) string {
	t.Helper()
	if _, _, stderr := run(args...); strings.Contains(stderr, "\r") {
		t.Errorf("%q is not quiet in a pipe: %q", args, stderr)
	}
	terminal := pty.Open(t)
	var out bytes.Buffer
	env := cli.Env{Stdout: &out, Stderr: terminal.File, LookupEnv: os.LookupEnv}
	cli.Main(context.Background(), args, env, cli.Agent{Tools: All()})
	if strings.Contains(out.String(), "\r") {
		t.Errorf("%q shows what it does in its output: %q", args, out.String())
	}
	return terminal.Close()
}

func TestUsage(t *testing.T) {
	want(t, cli.ExitOK, []string{"spool", "dead-letters"}, "help")
	want(t, cli.ExitOK, []string{"Usage: log_capturer spool"}, "help", "spool")
	want(t, cli.ExitOK, []string{"Usage: log_capturer spool"}, "spool", "--help")
	want(t, cli.ExitOK, []string{"Usage: log_capturer dead-letters"}, "dead-letters", "list", "-h")
	want(t, cli.ExitUsage, []string{"say what to do"}, "spool")
	want(t, cli.ExitUsage, []string{`did you mean "check"?`}, "spool", "chek")
	want(t, cli.ExitUsage, []string{"-nope"}, "spool", "list", "--nope")
	want(t, cli.ExitUsage, []string{"say which letters, or --all"}, "dead-letters", "purge")
	want(t, cli.ExitUsage, []string{`not "x"`}, "dead-letters", "show", "x")
	want(t, cli.ExitConfig, []string{"none.yaml"}, "spool", "list", "--config", "none.yaml")
	want(t, cli.ExitFailure, []string{"does it run"}, "dead-letters", "list", "--api", "http://127.0.0.1:1")
}

func TestSpool(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "agent.yaml")
	if err := os.WriteFile(file, []byte("data_dir: "+dir+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, cli.ExitOK, []string{"SINK"}, "spool", "list", "--config", file)
	s, err := spool.Open(filepath.Join(dir, "spool", "loki"), spool.Options{MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	reader := recordtest.NewLog("container/a").Fill(100).Read()
	for b := reader.Next(10); b != nil; b = reader.Next(10) {
		e, err := s.Append(b, [record.NumStreams]int{}, len(b.Records))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		s.Publish(e, false)
		b.Release()
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	want(t, cli.ExitOK, []string{"loki", "open"}, "spool", "list", "--config", file, "loki")
	want(t, cli.ExitOK, []string{" 100 "}, "spool", "check", "loki", "--config", file)
	want(t, cli.ExitFailure, []string{`no spool of a sink "other"`}, "spool", "check", "--config", file, "other")
	dumped := want(t, cli.ExitOK, nil, "spool", "dump", "--config", file)
	lines := strings.Split(strings.TrimSpace(dumped), "\n")
	var last struct{ Sink, Source, Stream, Line string }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatal(err)
	}
	if len(lines) != 100 || last.Sink != "loki" || last.Stream != "stderr" || last.Line != "container/a line 99" {
		t.Errorf("%d lines, the last %+v", len(lines), last)
	}

	if got := watched(t, "spool", "check", "--config", file); !strings.Contains(got, "\rchecking the spool of loki: ") || !strings.HasSuffix(got, "\r\x1b[K") {
		t.Errorf("a terminal shows %q", got)
	}

	names, err := filepath.Glob(filepath.Join(dir, "spool", "loki", "*.open"))
	if err != nil || len(names) != 1 {
		t.Fatalf("%v, %q", err, names)
	}
	data, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	data[60] ^= 1
	if err := os.WriteFile(names[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, cli.ExitFailure, []string{" 90 ", " 10 ", "checksum", "something is damaged"}, "spool", "check", "--config", file)
	want(t, cli.ExitFailure, []string{"10 records are damaged"}, "spool", "dump", "--config", file)
}

// kept are dead letters for the API.
type kept struct {
	letters []server.Letter
	asked   string
	replay  server.Replay
}

func (k *kept) List(sel server.Selection, limit int) (found []server.Letter, total int, err error) {
	k.asked = fmt.Sprintf("%+v", sel)
	found = k.letters
	if limit > 0 {
		found = found[:min(limit, len(found))]
	}
	return found, len(k.letters), nil
}

func (k *kept) Purge(sel server.Selection) (int, error) {
	k.asked = fmt.Sprintf("%+v", sel)
	return len(k.letters), nil
}

func (k *kept) Replay(sel server.Selection, to string) (int, error) {
	k.asked = fmt.Sprintf("%+v to %q", sel, to)
	switch to {
	case "nowhere":
		return 0, errors.New(`there is no sink "nowhere"`)
	case "busy":
		return 0, server.ErrBusy
	}
	k.replay = server.Replay{Total: len(k.letters), Accepted: len(k.letters) - 1, Error: "one is stubborn"}
	return len(k.letters), nil
}

func (k *kept) Replaying() server.Replay { return k.replay }

func TestLetters(t *testing.T) {
	k := &kept{}
	for i := range 3 {
		k.letters = append(k.letters, server.Letter{ID: uint64(i), Object: json.RawMessage(
			`{"time":"2026-01-02T03:04:05Z","sink":"loki","reason":"too_old","detail":"entry is\n too old","container_name":"web"}`)})
	}
	s, err := server.New(server.Options{API: "127.0.0.1:0", DeadLetters: k, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	f := func(code int, asked string, texts []string, args ...string) {
		t.Helper()
		k.asked = ""
		want(t, code, texts, append(append([]string{"dead-letters"}, args...), "--api", "http://"+s.APIAddr())...)
		if k.asked != asked {
			t.Errorf("%q: asked %s, want %s", args, k.asked, asked)
		}
	}
	f(cli.ExitOK, "{IDs:[] Sink: Reason:}", []string{"too_old", "web", "entry is too old"}, "list")
	f(cli.ExitOK, "{IDs:[] Sink:loki Reason:bad}", []string{"and 1 more"}, "list", "--limit", "2", "--sink", "loki", "--reason", "bad")
	f(cli.ExitOK, "{IDs:[1 2] Sink: Reason:}", []string{`{"id":0,"letter":{"time"`}, "show", "1", "2")
	f(cli.ExitOK, "{IDs:[] Sink: Reason:}", []string{"3 letters purged"}, "purge", "--all")
	f(cli.ExitFailure, "{IDs:[] Sink: Reason:}", []string{"3 letters selected", "2 of 3", "one is stubborn"}, "replay", "--all", "--to", "files")
	f(cli.ExitFailure, `{IDs:[5] Sink: Reason:} to "nowhere"`, []string{`there is no sink "nowhere"`}, "replay", "5", "--to", "nowhere")
	if got := watched(t, "dead-letters", "replay", "--all", "--to", "files", "--api", "http://"+s.APIAddr()); !strings.HasPrefix(got, "\r2 of 3 letters replayed ...") {
		t.Errorf("a terminal shows %q", got)
	}
	f(cli.ExitFailure, `{IDs:[] Sink: Reason:} to "busy"`, []string{"busy"}, "replay", "--all", "--to", "busy")
}
