package sinktest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"log_capturer/internal/deadletter"
	"log_capturer/internal/delivery"
	"log_capturer/internal/delivery/deliverytest"
	"log_capturer/internal/record"
	"log_capturer/internal/record/recordtest"
)

// Patience is how long a test waits for what has to happen.
const Patience = 60 * time.Second

// rig is a delivery to a destination, with what was written.
type rig struct {
	t       *testing.T
	target  Target
	options delivery.Options
	deliver *delivery.Delivery
	logs    []*recordtest.Log
	dead    *deadletter.File
	deadAt  string
	cancel  context.CancelFunc
	done    chan error
}

// start starts a destination that is closed at the end of the test, where its
// clients' mistakes are reported.
func start(t *testing.T, h Harness) Target {
	t.Helper()
	target := h.Start(t, nil)
	t.Cleanup(func() { end(t, target) })
	return target
}

func end(t *testing.T, target Target) {
	target.Close()
	for _, v := range target.Violations() {
		t.Errorf("protocol violation: %s", v)
	}
}

// newRig returns a rig that is not running.
func newRig(t *testing.T, h Harness, target Target, change func(*delivery.Options)) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{t: t, target: target, deadAt: filepath.Join(dir, "dead-letters.jsonl")}
	var err error
	if r.dead, err = deadletter.Open(r.deadAt); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.dead.Close() })
	r.options = delivery.Options{
		Name: "tested", Sink: h.New(t, target, Connect{}), Journal: deliverytest.NewJournal(), DeadLetters: r.dead,
		WindowBytes: 64 << 20, Concurrency: 3, BatchBytes: 256 << 10, BatchRecords: 100,
		Timeout: Patience, MinBackoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond,
		Logger: slog.New(slog.DiscardHandler),
	}
	if j, ok := target.(Journaled); ok {
		r.options.Journal = j.Journal()
	}
	if h.SerialOnly {
		r.options.Concurrency = 1
	}
	if change != nil {
		change(&r.options)
	}
	r.deliver = delivery.New(r.options)
	return r
}

// run starts the delivery.
func (r *rig) run() {
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(context.Background())
	r.done = make(chan error, 1)
	go func() { r.done <- r.deliver.Run(ctx) }()
}

// write gives the delivery a log's lines, in batches of n.
func (r *rig) write(log *recordtest.Log, n int) {
	r.t.Helper()
	r.logs = append(r.logs, log)
	reader := log.Read()
	for b := reader.Next(n); b != nil; b = reader.Next(n) {
		if err := r.deliver.Enqueue(context.Background(), b); err != nil {
			r.t.Errorf("enqueue: %v", err)
		}
		b.Release()
	}
}

// drain ends the delivery when everything is delivered.
func (r *rig) drain() {
	r.t.Helper()
	r.deliver.CloseInput()
	defer r.cancel()
	select {
	case err := <-r.done:
		if err != nil {
			r.t.Errorf("run: %v", err)
		}
	case <-time.After(Patience):
		r.cancel()
		<-r.done
		r.t.Errorf("the delivery does not come to its end: %+v, %v", r.deliver.Accounts(), r.deliver.Health())
	}
}

// check compares what was written with what has arrived, where repeats are
// allowed when repeated is set, and the lines that dead says must be dead
// letters. Nothing may be left.
func (r *rig) check(repeated bool, dead func(text string) bool) {
	r.t.Helper()
	type key struct {
		source string
		stream record.Stream
	}
	arrived := map[key][]string{}
	for _, l := range r.target.Lines() {
		k := key{l.Source, l.Stream}
		arrived[k] = append(arrived[k], l.Text)
	}
	var written, buried int
	var wantDead []string
	for _, log := range r.logs {
		for s := range record.Stream(record.NumStreams) {
			k := key{log.Source.ContainerName, s}
			var want []string
			for _, text := range log.Lines(s) {
				written++
				if dead != nil && dead(text) {
					wantDead = append(wantDead, text)
					buried++
					continue
				}
				want = append(want, text)
			}
			got := arrived[k]
			delete(arrived, k)
			if repeated {
				got = firsts(got)
			}
			compare(r.t, fmt.Sprintf("%s %v", k.source, s), got, want)
		}
	}
	for k, lines := range arrived {
		r.t.Errorf("%d lines of %v, who wrote none: %.200q", len(lines), k, lines)
	}
	gotDead := r.deadLines()
	slices.Sort(gotDead)
	slices.Sort(wantDead)
	compare(r.t, "dead letters", gotDead, wantDead)
	a := r.deliver.Accounts()
	if a.Accepted != a.Acknowledged+a.InMemory+a.DeadLettered || a.Accepted != uint64(written) ||
		a.InMemory != 0 || a.DeadLettered != uint64(buried) {
		r.t.Errorf("accounts %+v of %d lines, %d of them refused", a, written, buried)
	}
}

// firsts returns the lines without those that came before.
func firsts(lines []string) []string {
	seen := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(lines), func(l string) bool {
		again := seen[l]
		seen[l] = true
		return again
	})
}

func compare(t *testing.T, what string, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			at := func(lines []string) string {
				if i < len(lines) {
					return fmt.Sprintf("%.120q", lines[i])
				}
				return "nothing"
			}
			t.Errorf("%s: %d lines, want %d; the first difference is line %d: %s, want %s", what, len(got), len(want), i, at(got), at(want))
			return
		}
	}
}

// deadLines returns the lines of the dead letters.
func (r *rig) deadLines() []string {
	r.t.Helper()
	content, err := os.ReadFile(r.deadAt)
	if err != nil {
		r.t.Fatal(err)
	}
	var lines []string
	scanner := bufio.NewScanner(bytes.NewReader(content))
	scanner.Buffer(nil, 64<<20)
	for scanner.Scan() {
		var entry struct {
			Line       string
			LineBase64 string `json:"line_base64"`
		}
		if err := json.Unmarshal(scanner.Bytes(), &entry); err != nil {
			r.t.Fatal(err)
		}
		if entry.LineBase64 != "" {
			exact, err := base64.StdEncoding.DecodeString(entry.LineBase64)
			if err != nil {
				r.t.Fatal(err)
			}
			entry.Line = string(exact)
		}
		lines = append(lines, entry.Line)
	}
	return lines
}

// newLog returns a log of a container with n lines, alternately of its two
// streams. Each line is one of its own, and one in twenty has bytes that
// encoders stumble over.
func newLog(name string, n int) *recordtest.Log {
	log := recordtest.NewLog("container/" + name)
	log.Source = &record.Source{
		Key: "container/" + name, Host: "node-1", ContainerID: name + strings.Repeat("0", 64-len(name)),
		ContainerName: name, Image: "example/app:1", ComposeProject: "shop", ComposeService: name,
	}
	odd := []string{`"quotes" and \backslashes\`, "tab\tand \x00\x01\x1b[31m", "žluťoučký kůň 🐢", "{\"json\":[1,2]}", "\u2028 \u00a0", incompressible(16000)}
	base := time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC).UnixNano()
	for i := range n {
		text := fmt.Sprintf("%s line %d", name, i)
		if i%20 == 7 {
			text += " " + odd[i/20%len(odd)]
		}
		// Some share a nanosecond.
		log.Write(record.Stream(i%record.NumStreams), base+int64(i/3), text)
	}
	return log
}

// requestFor is Request with the group that the sink gives it.
func requestFor(sink delivery.Sink, n int) *delivery.Request {
	req := Request(n)
	if g, ok := sink.(delivery.Grouper); ok {
		req.Group = g.Group(req.Parts[0].Batch.Source, record.Stdout)
	}
	return req
}

// incompressible returns a text of n letters and digits, the same each time.
func incompressible(n int) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	random := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[random.IntN(len(letters))]
	}
	return string(b)
}

// Journaled is a Target whose sink shares a journal with the delivery.
type Journaled interface{ Journal() delivery.Journal }

// Request returns a request for n lines of one stream, for tests that call Send
// themselves.
func Request(n int) *delivery.Request {
	log := recordtest.NewLog("container/single")
	log.Source = newLog("single", 0).Source
	for i := range n {
		log.Write(record.Stdout, 1_700_000_000_123_456_789+int64(i), fmt.Sprintf("single line %d", i))
	}
	b := log.Read().Next(n)
	return &delivery.Request{Parts: []delivery.Part{{Batch: b, To: len(b.Records), Streams: record.AllStreams}}}
}

// Eventually waits until ok, or fails.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
