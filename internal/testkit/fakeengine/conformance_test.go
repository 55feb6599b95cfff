package fakeengine_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"log_capturer/internal/record"
	"log_capturer/internal/testkit/enginetest"
	"log_capturer/internal/testkit/fakeengine"
	"log_capturer/internal/testkit/script"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// subject is an engine under test: the real one or the scripted one.
type subject interface {
	// host returns the engine's address.
	host() string
	// play starts a container that carries out steps up to the first Wait.
	play(t *testing.T, options enginetest.Options, steps script.Script) container
}

type container interface {
	id() string
	// proceed carries on behind a Wait.
	proceed(t *testing.T)
	// wait waits for the end of the script.
	wait(t *testing.T)
}

// TestLogsAsARealEngine holds the real and the scripted engine to the same
// expectations.
func TestLogsAsARealEngine(t *testing.T) {
	t.Run("real", func(t *testing.T) { expectLogs(t, &realEngine{enginetest.New(t)}) })
	t.Run("scripted", func(t *testing.T) {
		expectLogs(t, &scripted{fakeengine.New(t, fakeengine.Options{})})
	})
	t.Run("scripted, newer", func(t *testing.T) {
		expectLogs(t, &scripted{fakeengine.New(t, fakeengine.Options{APIVersion: "1.47", SinceOnce: true})})
	})
}

type realEngine struct{ *enginetest.Engine }

func (e *realEngine) host() string { return e.Host }

type realContainer struct{ *enginetest.Container }

func (e *realEngine) play(t *testing.T, o enginetest.Options, steps script.Script) container {
	o.Script = steps
	return realContainer{e.Run(t, o)}
}

func (c realContainer) id() string { return c.ID }

func (c realContainer) proceed(t *testing.T) { enginetest.Must(t, c.Proceed()) }

func (c realContainer) wait(t *testing.T) {
	_, err := c.Wait(time.Minute)
	enginetest.Must(t, err)
}

type scripted struct{ *fakeengine.Engine }

func (e *scripted) host() string { return e.Host() }

// scriptedContainer plays a script on the scripted engine: it does what the
// kernel's terminal and the engine's copying do to written bytes.
type scriptedContainer struct {
	*fakeengine.Container
	tty   bool
	steps script.Script
	open  [record.NumStreams][]byte
	clock time.Time
}

func (e *scripted) play(t *testing.T, o enginetest.Options, steps script.Script) container {
	c := &scriptedContainer{tty: o.TTY, steps: steps, clock: time.Now()}
	c.Container = e.Add(fakeengine.Config{TTY: o.TTY, LogDriver: o.LogDriver})
	c.advance()
	return c
}

func (c *scriptedContainer) id() string { return c.ID() }

func (c *scriptedContainer) proceed(t *testing.T) {
	c.steps = c.steps[1:]
	c.advance()
}

func (c *scriptedContainer) wait(*testing.T) {}

func (c *scriptedContainer) advance() {
	for len(c.steps) > 0 && !c.steps[0].Wait {
		step := c.steps[0]
		c.steps = c.steps[1:]
		data := step.Bytes()
		if c.tty {
			data = bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n"))
			step.Stream = record.Stdout
		}
		c.open[step.Stream] = append(c.open[step.Stream], data...)
		for {
			text, rest, whole := strings.Cut(string(c.open[step.Stream]), "\n")
			if !whole {
				break
			}
			c.open[step.Stream] = []byte(rest)
			c.clock = c.clock.Add(time.Millisecond)
			c.Append(fakeengine.Pieces(step.Stream, c.clock, text)...)
		}
	}
	if len(c.steps) == 0 {
		for s, text := range c.open {
			if len(text) > 0 {
				c.clock = c.clock.Add(time.Millisecond)
				pieces := fakeengine.Pieces(record.Stream(s), c.clock, string(text))
				last := &pieces[len(pieces)-1]
				last.Data = last.Data[:len(last.Data)-1]
				c.Append(pieces...)
			}
		}
		c.Exit(0)
	}
}

// entry is one entry as a reader of the API sees it.
type entry struct {
	stream record.Stream
	time   time.Time
	data   string
}

// api is a client that hides nothing of the protocol.
type api struct{ http.Client }

func newAPI(t *testing.T, host string) *api {
	path := strings.TrimPrefix(host, "unix://")
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &api{http.Client{Transport: transport, Timeout: time.Minute}}
}

// get returns the body of an answer, which must have the given status.
func (a *api) get(t *testing.T, path string, status int) io.ReadCloser {
	t.Helper()
	resp, err := a.Get("http://engine" + path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != status {
		b, _ := io.ReadAll(resp.Body)
		t.Fatalf("GET %s: %s %s, want %d", path, resp.Status, b, status)
	}
	return resp.Body
}

// entries reads the frames of a log with timestamps to their end.
func (a *api) entries(t *testing.T, id, query string) []entry {
	t.Helper()
	return readEntries(t, a.get(t, "/v1.41/containers/"+id+"/logs?timestamps=1&"+query, http.StatusOK), -1)
}

// both is the query for both streams.
const both = "stdout=1&stderr=1"

// readEntries reads n frames, or all when n is negative.
func readEntries(t *testing.T, r io.Reader, n int) []entry {
	t.Helper()
	var entries []entry
	for n < 0 || len(entries) < n {
		var header [8]byte
		if _, err := io.ReadFull(r, header[:]); err != nil {
			if errors.Is(err, io.EOF) && n < 0 {
				return entries
			}
			t.Fatalf("after %d entries: %v", len(entries), err)
		}
		if header[0] != 1 && header[0] != 2 || header[1] != 0 || header[2] != 0 || header[3] != 0 {
			t.Fatalf("bad header % x", header)
		}
		payload := make([]byte, binary.BigEndian.Uint32(header[4:]))
		if _, err := io.ReadFull(r, payload); err != nil {
			t.Fatal(err)
		}
		stamp, data, _ := strings.Cut(string(payload), " ")
		at, err := time.Parse("2006-01-02T15:04:05.000000000Z", stamp)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, entry{record.Stream(header[0] - 1), at, data})
	}
	return entries
}

// unix writes a time as a parameter.
func unix(t time.Time) string { return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()) }

// expect compares entries, naming the first that differs.
func expect(t *testing.T, what string, got, want []entry) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("%s: %d entries, want %d", what, len(got), len(want))
			return
		case i >= len(want):
			t.Errorf("%s: entry %d of %d is unexpected: %.80v", what, i, len(want), got[i])
			return
		case got[i] != want[i]:
			t.Errorf("%s: entry %d is %.80v, want %.80v", what, i, got[i], want[i])
			return
		}
	}
}

func expectLogs(t *testing.T, engine subject) {
	pause := func(s script.Step) script.Step { s.Sleep = 3 * time.Millisecond; return s }

	t.Run("selection", func(t *testing.T) {
		var steps script.Script
		for i := range 10 {
			steps = append(steps, pause(script.Out(fmt.Sprintf("out %d\n", i))), pause(script.Err(fmt.Sprintf("err %d\n", i))))
		}
		steps = append(steps, pause(script.Out("last, without an end")))
		c := engine.play(t, enginetest.Options{}, steps)
		a := newAPI(t, engine.host())
		// A follower of a container that runs may miss the last line, since it
		// has no end: engine 20.10 ends the stream first.
		c.wait(t)
		all := readEntries(t, a.get(t, "/containers/"+c.id()+"/logs?follow=true&timestamps=true&stdout=true&stderr=true", http.StatusOK), -1)
		if len(all) != 21 {
			t.Fatalf("%d entries, want 21", len(all))
		}
		var text [2]string
		for _, e := range all {
			text[e.stream] += e.data
		}
		for s := range text {
			if want := string(steps.Bytes(record.Stream(s))); text[s] != want {
				t.Errorf("%v is %q, want %q", record.Stream(s), text[s], want)
			}
		}
		filter := func(keep func(entry) bool) (kept []entry) {
			for _, e := range all {
				if keep(e) {
					kept = append(kept, e)
				}
			}
			return kept
		}
		since := func(at time.Time) func(entry) bool { return func(e entry) bool { return !e.time.Before(at) } }

		expect(t, "a follower of a stopped container gets the same", a.entries(t, c.id(), both+"&follow=1"), all)
		expect(t, "tail=all", a.entries(t, c.id(), both+"&tail=all"), all)
		expect(t, "tail counts entries", a.entries(t, c.id(), both+"&tail=5"), all[16:])
		expect(t, "tail=0", a.entries(t, c.id(), both+"&tail=0"), nil)
		expect(t, "tail above all", a.entries(t, c.id(), both+"&tail=1000"), all)
		expect(t, "a negative tail", a.entries(t, c.id(), both+"&tail=-1"), all)
		stderr := filter(func(e entry) bool { return e.stream == record.Stderr })
		expect(t, "one stream", a.entries(t, c.id(), "stderr=1"), stderr)
		expect(t, "tail counts the other stream as well", a.entries(t, c.id(), "stderr=1&tail=1"), nil)
		at := all[8].time
		expect(t, "since is inclusive", a.entries(t, c.id(), both+"&since="+unix(at)), filter(since(at)))
		expect(t, "since is exact", a.entries(t, c.id(), both+"&since="+unix(at.Add(1))), filter(since(at.Add(1))))
		expect(t, "since within tail", a.entries(t, c.id(), both+"&tail=20&since="+unix(at)), filter(since(at)))
		expect(t, "tail within since", a.entries(t, c.id(), both+"&tail=3&since="+unix(at)), all[18:])
		expect(t, "until is inclusive", a.entries(t, c.id(), both+"&until="+unix(at)), all[:9])
		expect(t, "since in whole seconds", a.entries(t, c.id(), both+fmt.Sprintf("&since=%d", at.Unix()-10)), all)
	})

	t.Run("pieces", func(t *testing.T) {
		var steps script.Script
		var sizes []int
		for _, n := range []int{0, 1, 16383, 16384, 16385, 3 * 16384, 100_000} {
			if n > 0 {
				steps = append(steps, script.Fill(record.Stdout, "x", n))
			}
			steps = append(steps, script.Out("\n"))
			for ; n >= 16384; n -= 16384 {
				sizes = append(sizes, 16384)
			}
			sizes = append(sizes, n+1)
		}
		steps = append(steps, script.Fill(record.Stdout, "y", 20_000))
		sizes = append(sizes, 16384, 20_000-16384)
		c := engine.play(t, enginetest.Options{}, steps)
		c.wait(t)
		got := newAPI(t, engine.host()).entries(t, c.id(), both+"&follow=1")
		if len(got) != len(sizes) {
			t.Fatalf("%d entries, want %d", len(got), len(sizes))
		}
		for i, e := range got {
			if len(e.data) != sizes[i] {
				t.Errorf("entry %d has %d bytes, want %d", i, len(e.data), sizes[i])
			}
			if i > 0 && !strings.HasSuffix(got[i-1].data, "\n") && !e.time.Equal(got[i-1].time) {
				t.Errorf("entry %d continues a line at another time", i)
			}
		}
	})

	t.Run("follow", func(t *testing.T) {
		c := engine.play(t, enginetest.Options{}, script.Script{
			script.Out("a\n"), script.Wait, script.Out("b\n"), script.Wait, script.Out("c\n"),
		})
		a := newAPI(t, engine.host())
		path := "/v1.41/containers/" + c.id() + "/logs?timestamps=1&follow=1&" + both
		whole := a.get(t, path, http.StatusOK)
		first := readEntries(t, whole, 1)
		news := a.get(t, path+"&tail=0", http.StatusOK)
		future := a.get(t, path+"&since="+unix(time.Now().Add(time.Hour)), http.StatusOK)
		c.proceed(t)
		second := readEntries(t, news, 1)
		expect(t, "both followers", readEntries(t, whole, 1), second)
		c.proceed(t)
		third := readEntries(t, news, -1)
		expect(t, "both followers", readEntries(t, whole, -1), third)
		expect(t, "since holds while following", readEntries(t, future, -1), nil)
		text := ""
		for _, e := range append(append(first, second...), third...) {
			text += e.data
		}
		if text != "a\nb\nc\n" {
			t.Errorf("followed %q", text)
		}
	})

	t.Run("terminal", func(t *testing.T) {
		line := strings.Repeat("z", 20_000)
		c := engine.play(t, enginetest.Options{TTY: true}, script.Script{script.Wait, script.Out("one\n"), script.Err("two\n"), script.Out(line + "\n")})
		a := newAPI(t, engine.host())
		path := "/v1.41/containers/" + c.id() + "/logs?follow=1&" + both
		bare, stamped := a.get(t, path, http.StatusOK), a.get(t, path+"&timestamps=1", http.StatusOK)
		c.proceed(t)
		b, err := io.ReadAll(bare)
		if want := "one\r\ntwo\r\n" + line + "\r\n"; err != nil || string(b) != want {
			t.Errorf("bare log has %d bytes, want %d (%v)", len(b), len(want), err)
		}
		b, err = io.ReadAll(stamped)
		if err != nil {
			t.Fatal(err)
		}
		const size = len("2006-01-02T15:04:05.000000000Z ")
		text := string(b)
		for _, want := range []string{"one\r\n", "two\r\n"} {
			if len(text) < size+len(want) || text[size:size+len(want)] != want || text[size-2] != 'Z' {
				t.Fatalf("stamped log goes on with %.60q, want %q", text, want)
			}
			text = text[size+len(want):]
		}
		// The long line's pieces depend on what the terminal gives at once; all
		// have the line's timestamp.
		stamp := text[:size]
		if got := strings.ReplaceAll(text, stamp, ""); got != line+"\r\n" || strings.Count(text, stamp) < 2 {
			t.Errorf("the long line has %d bytes in %d pieces", len(got), strings.Count(text, stamp))
		}
	})

	t.Run("refusals", func(t *testing.T) {
		c := engine.play(t, enginetest.Options{}, script.Script{script.Out("x\n")})
		unreadable := engine.play(t, enginetest.Options{LogDriver: "none"}, script.Script{script.Out("x\n")})
		a := newAPI(t, engine.host())
		for path, status := range map[string]int{
			"/v1.41/containers/" + c.id() + "/logs":                     http.StatusBadRequest,
			"/v1.41/containers/" + c.id() + "/logs?stdout=1&since=noon": http.StatusInternalServerError,
			"/v1.41/containers/" + strings.Repeat("0", 64) + "/json":    http.StatusNotFound,
			"/containers/none-such/logs?stdout=1":                       http.StatusNotFound,
			"/v1.41/containers/" + unreadable.id() + "/logs?stdout=1":   http.StatusNotImplemented,
			"/v1.999/containers/json":                                   http.StatusBadRequest,
		} {
			var message struct{ Message string }
			if err := json.NewDecoder(a.get(t, path, status)).Decode(&message); err != nil || message.Message == "" {
				t.Errorf("GET %s: no message (%v)", path, err)
			}
		}
	})

	t.Run("containers and events", func(t *testing.T) {
		a := newAPI(t, engine.host())
		resp, err := a.Head("http://engine/_ping")
		if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Api-Version") == "" {
			t.Fatalf("ping: %v, %v", resp, err)
		}
		resp.Body.Close()
		filters := url.QueryEscape(`{"type":["container"],"event":["start","die","rename","destroy"]}`)
		events := json.NewDecoder(a.get(t, "/v1.41/events?filters="+filters, http.StatusOK))
		c := engine.play(t, enginetest.Options{}, script.Script{script.Wait})
		next := func(action string) {
			t.Helper()
			for {
				var e struct {
					Type, Action string
					Actor        struct {
						ID         string
						Attributes map[string]string
					}
					TimeNano int64
				}
				if err := events.Decode(&e); err != nil {
					t.Fatal(err)
				}
				if e.Actor.ID != c.id() {
					continue // of another test
				}
				if e.Action != action || e.Type != "container" || e.TimeNano == 0 || e.Actor.Attributes["name"] == "" {
					t.Errorf("event %+v, want %s", e, action)
				}
				return
			}
		}
		next("start")
		find := func(query string) (state string) {
			var items []struct {
				ID, Image, State string
				Names            []string
			}
			if err := json.NewDecoder(a.get(t, "/v1.41/containers/json"+query, http.StatusOK)).Decode(&items); err != nil {
				t.Fatal(err)
			}
			for _, item := range items {
				if item.ID == c.id() {
					if len(item.Names) != 1 || !strings.HasPrefix(item.Names[0], "/") || item.Image == "" {
						t.Errorf("listed as %+v", item)
					}
					return item.State
				}
			}
			return "not listed"
		}
		if got := find(""); got != "running" {
			t.Errorf("list: %s", got)
		}
		c.proceed(t)
		next("die")
		// An engine tells of the end before its list knows.
		enginetest.Eventually(t, time.Minute, "the list shows the end", func() bool { return find("?all=1") == "exited" })
		if got := find(""); got != "not listed" {
			t.Errorf("list without all: %s", got)
		}
		var found struct {
			Name   string
			State  struct{ Status, StartedAt string }
			Config struct {
				Tty   bool
				Image string
			}
			HostConfig struct{ LogConfig struct{ Type string } }
		}
		if err := json.NewDecoder(a.get(t, "/v1.41/containers/"+c.id()+"/json", http.StatusOK)).Decode(&found); err != nil {
			t.Fatal(err)
		}
		if _, err := time.Parse(time.RFC3339Nano, found.State.StartedAt); err != nil || found.State.Status != "exited" ||
			found.HostConfig.LogConfig.Type != "json-file" || found.Config.Image == "" || !strings.HasPrefix(found.Name, "/") {
			t.Errorf("inspect: %+v, %v", found, err)
		}
	})
}
