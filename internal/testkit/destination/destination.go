// Package destination runs a real destination, a program of somebody else's, and
// a sink's delivery into it.
//
// It owns the program's life in a test, and the account of what was delivered.
// What the program is told, and what it is asked afterwards, is its test's.
package destination

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"log_capturer/internal/deadletter"
	"log_capturer/internal/delivery"
	"log_capturer/internal/delivery/deliverytest"
	"log_capturer/internal/record/recordtest"
)

// Patience is how long a test waits for what has to happen.
const Patience = 3 * time.Minute

// Client asks destinations. It keeps no connection, so that none is left when a
// test ends.
var Client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: Patience}

// Build compiles the program of a package, seen from the module in folder (the
// current one when that is empty), and returns the path of the binary.
func Build(t *testing.T, folder, program string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), filepath.Base(program))
	build := exec.Command("go", "build", "-o", binary, program)
	build.Dir, build.Env = folder, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", program, err, out)
	}
	return binary
}

// FreeAddress returns an address of loopback that nobody listens at now.
func FreeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Start runs the command that attempt makes until the test ends, and returns when
// ready, a URL that attempt names, answers with 200. An address that was free may
// be another's a moment later: a command that ends at once is made again.
func Start(t *testing.T, attempt func() (cmd *exec.Cmd, ready string)) {
	t.Helper()
	for range 5 {
		if cmd, ready := attempt(); start(t, cmd, ready) {
			return
		}
	}
	t.Fatal("the destination does not start")
}

// start reports false when the command ended at once.
func start(t *testing.T, cmd *exec.Cmd, ready string) bool {
	t.Helper()
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for deadline := time.Now().Add(Patience); !isReady(ready); time.Sleep(50 * time.Millisecond) {
		select {
		case err := <-ended:
			t.Logf("%s ended: %v\n%s", cmd.Path, err, output.String())
			return false
		default:
		}
		if time.Now().After(deadline) {
			t.Errorf("%s does not become ready", cmd.Path)
			break
		}
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(Patience):
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("%s said\n%s", cmd.Path, output.String())
		}
	})
	return true
}

func isReady(url string) bool {
	res, err := Client.Get(url)
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// Deliver runs the delivery of the logs into the sink to its end. So many of
// their lines must have been refused for good, and all others acknowledged.
func Deliver(t *testing.T, to delivery.Sink, logs []*recordtest.Log, refused uint64) {
	t.Helper()
	dead, err := deadletter.Open(filepath.Join(t.TempDir(), "dead-letters.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	d := delivery.New(delivery.Options{
		Name: "tested", Sink: to, Journal: deliverytest.NewJournal(), DeadLetters: dead,
		WindowBytes: 64 << 20, Concurrency: 2, BatchBytes: 256 << 10, BatchRecords: 200,
		Timeout: Patience, MinBackoff: time.Millisecond, MaxBackoff: 100 * time.Millisecond,
		Logger: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	var written uint64
	for _, log := range logs {
		reader := log.Read()
		for b := reader.Next(90); b != nil; b = reader.Next(90) {
			written += uint64(len(b.Records))
			if err := d.Enqueue(ctx, b); err != nil {
				t.Error(err)
			}
			b.Release()
		}
	}
	d.CloseInput()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if a := d.Accounts(); a.Accepted != written || a.DeadLettered != refused || a.Acknowledged != written-refused {
		t.Errorf("accounts %+v of %d lines, of which %d are to be refused; %v", a, written, refused, d.Health())
	}
}
