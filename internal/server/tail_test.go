package server

import (
	"bufio"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"log_capturer/internal/livetail"
	"log_capturer/internal/record"
)

// publish shows a batch of lines.
func publish(hub *livetail.Hub, stream record.Stream, lines ...string) {
	b := record.NewBatch(&record.Source{ContainerName: "web", ContainerID: "1234", Image: "i"}, 100)
	defer b.Release()
	for _, line := range lines {
		b.Append(record.Record{Time: 1e18 + 1, Stream: stream, Flags: record.Cut}, []byte(line))
	}
	hub.At(livetail.Raw).Publish(b)
}

// openTail begins a tail, which ends with the test.
func openTail(t *testing.T, s *Server, query string) (*bufio.Reader, func()) {
	t.Helper()
	resp, err := http.Get("http://" + s.APIAddr() + "/api/v1/tail" + query)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	return bufio.NewReader(resp.Body), func() { resp.Body.Close() }
}

func nextLine(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(line, "\n")
}

func TestTail(t *testing.T) {
	hub := livetail.New()
	s := start(t, Options{API: anyPort, Tail: hub})
	r, end := openTail(t, s, "?stream=stderr&source=w*")
	publish(hub, record.Stdout, "not wanted")
	publish(hub, record.Stderr, "<a> & \x1b", "b\xff")
	want := `{"time":"2001-09-09T01:46:40.000000001Z","container":"web","container_id":"1234","image":"i","stream":"stderr","line":`
	if got := nextLine(t, r); got != want+`"<a> & \u001b","cut":true}` {
		t.Errorf("got %s", got)
	}
	if got := nextLine(t, r); got != want+`"b\ufffd","raw":"Yv8=","cut":true}` {
		t.Errorf("got %s", got)
	}
	end()
	for deadline := time.Now().Add(time.Minute); hub.Watchers() > 0; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the watcher stays when its client is gone")
		}
		publish(hub, record.Stderr, "into the void")
	}
	if status, _, body := request(t, http.MethodGet, "http://"+s.APIAddr()+"/api/v1/tail?regexp=("); status != http.StatusBadRequest || !strings.Contains(body, "missing closing") {
		t.Errorf("a bad expression: %d %s", status, body)
	}
	other := start(t, Options{API: anyPort})
	if status, _, _ := request(t, http.MethodGet, "http://"+other.APIAddr()+"/api/v1/tail"); status != http.StatusNotFound {
		t.Errorf("without a hub: %d", status)
	}
}

// A client that does not read neither blocks who publishes nor costs more than
// a bounded part of memory, and is told how much it missed.
func TestASlowTail(t *testing.T) {
	hub := livetail.New()
	s := start(t, Options{API: anyPort, Tail: hub})
	r, end := openTail(t, s, "")
	defer end()
	const batches = 3000
	line := strings.Repeat("x", 10<<10)
	for range batches {
		publish(hub, record.Stdout, line) // 30 MB, which no socket takes
	}
	came, skipped := uint64(0), uint64(0)
	for came+skipped < batches {
		var got TailLine
		if err := json.Unmarshal([]byte(nextLine(t, r)), &got); err != nil {
			t.Fatal(err)
		}
		if got.Skipped > 0 {
			skipped += got.Skipped
			continue
		}
		if got.Line != line {
			t.Fatal("a line is not what it was")
		}
		came++
	}
	if skipped == 0 || came == 0 || came+skipped != batches {
		t.Errorf("%d came and %d were skipped, of %d", came, skipped, batches)
	}
}

// A client that does not read does not keep the server from ending.
func TestAStuckTailEndsWithTheServer(t *testing.T) {
	hub := livetail.New()
	s, err := New(Options{API: anyPort, Tail: hub, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	_, end := openTail(t, s, "")
	defer end()
	for range 3000 {
		publish(hub, record.Stdout, strings.Repeat("x", 10<<10))
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := hub.Watchers(); n != 0 {
		t.Errorf("%d watchers are left", n)
	}
}

// What a pipeline has made of a record is shown with it, and an expression that
// cannot be held against a record is told of once.
func TestTailOfPipelines(t *testing.T) {
	hub := livetail.New()
	s := start(t, Options{API: anyPort, Tail: hub})
	r, end := openTail(t, s, "?stage=processed&where="+url.QueryEscape("fields.n > 1"))
	defer end()
	publish(hub, record.Stdout, "not of this stage")
	b := record.NewBatch(&record.Source{ContainerName: "web", ContainerID: "1234", Image: "i"}, 100)
	number := func(n string) []record.Attribute {
		return []record.Attribute{{Name: "n", Value: n, JSON: true}, {Name: "a", Value: `"b"`}, {Name: "list", Value: "[1,2]", JSON: true}}
	}
	b.AppendDerived(record.Record{Time: 1e18, Ordinal: 1}, []byte("none"), record.Derivation{})
	b.AppendDerived(record.Record{Time: 1e18, Ordinal: 1}, []byte("few"), record.Derivation{Attributes: number("1")})
	b.AppendDerived(record.Record{Time: 1e18, Ordinal: 1}, []byte("many"), record.Derivation{
		Level: "warn", Attributes: number("2.50"), Labels: []record.Attribute{{Name: "app", Value: "shop"}},
	})
	b.AppendDerived(record.Record{Time: 1e18, Ordinal: 1}, []byte("none again"), record.Derivation{})
	hub.At(livetail.Processed).Publish(b)
	hub.At(livetail.Processed).Publish(b)
	b.Release()
	many := `{"time":"2001-09-09T01:46:40Z","container":"web","container_id":"1234","image":"i","stream":"stdout","line":"many",` +
		`"level":"warn","fields":{"a":"\"b\"","list":[1,2],"n":2.50},"labels":{"app":"shop"}}`
	for i, want := range []string{`{"trouble":"expression: fields.n > 1: invalid operation: <nil> > int"}`, many, many} {
		if got := nextLine(t, r); got != want {
			t.Errorf("line %d: got\n%s, want\n%s", i, got, want)
		}
	}
}
