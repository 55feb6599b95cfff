package sinktest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"log_capturer/internal/delivery"
	"log_capturer/internal/httpclient"
)

// A destination is spoken to only when its certificate is the right one, and the
// error says what is wrong with another.
func testEncryption(t *testing.T, h Harness) {
	dir := t.TempDir()
	ours, theirs := NewAuthority(t, "ours"), NewAuthority(t, "theirs")
	ca := ours.File(t, dir)
	f := func(what string, a *Authority, name string, valid time.Duration, client httpclient.TLS, want string) {
		t.Helper()
		target := h.Start(t, a.Server(t, name, valid))
		defer target.Close()
		sink := h.New(t, target, Connect{TLS: client})
		with(t, sink, func() {
			req := requestFor(sink, 5)
			err := attempt(h, sink, req, want)
			// A patient sink may not have come to the reason yet.
			for deadline := time.Now().Add(Patience); h.Patient && err != nil && !strings.Contains(err.Error(), want) && time.Now().Before(deadline); {
				err = attempt(h, sink, req, want)
			}
			if want == "" {
				if err != nil || len(target.Lines()) != 5 {
					t.Errorf("%s: %v, %d lines arrived", what, err, len(target.Lines()))
				}
				return
			}
			if outcome(err) != "transient" || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want a transient error with %q", what, err, want)
			}
			if n := len(target.Lines()); n != 0 {
				t.Errorf("%s: %d lines were sent all the same", what, n)
			}
		})
	}
	f("right", ours, "127.0.0.1", time.Hour, httpclient.TLS{CAFile: ca}, "")
	f("right by its name", ours, "logs.example", time.Hour, httpclient.TLS{CAFile: ca, ServerName: "logs.example"}, "")
	f("wrong name", ours, "other.example", time.Hour, httpclient.TLS{CAFile: ca}, "127.0.0.1")
	f("expired", ours, "127.0.0.1", -time.Hour, httpclient.TLS{CAFile: ca}, "expired")
	f("unknown authority", theirs, "127.0.0.1", time.Hour, httpclient.TLS{CAFile: ca}, "unknown authority")
	f("no checks", theirs, "other.example", -time.Hour, httpclient.TLS{InsecureSkipVerify: true}, "")
}

// A credential is read again when its file changes; a wrong one is waited out.
func testCredentials(t *testing.T, h Harness) {
	target := start(t, h)
	file := filepath.Join(t.TempDir(), "token")
	put := func(token string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	put("first-s3cret")
	target.SetToken("first-s3cret")
	sink := h.New(t, target, Connect{TokenFile: file})
	r := newRig(t, h, target, func(o *delivery.Options) {
		o.Sink = sink
		if h.Patient {
			o.Timeout = time.Second
		}
	})
	r.run()
	r.write(newLog("web", 30), 10)
	Eventually(t, "the first lines have arrived", func() bool { return len(target.Lines()) == 30 })

	target.SetToken("second-s3cret-longer")
	r.write(newLog("db", 30), 10)
	Eventually(t, "the old credential is refused", func() bool { return len(r.deliver.Health()) > 0 && r.deliver.Health()[0].Reason != "" })
	reason := r.deliver.Health()[0].Reason
	if strings.Contains(reason, "s3cret") {
		t.Errorf("the reason shows a credential: %s", reason)
	}
	put("second-s3cret-longer")
	r.drain()
	r.check(false, nil)
}

// attempt makes one attempt, which a patient sink that is to fail is not given
// long for.
func attempt(h Harness, sink delivery.Sink, req *delivery.Request, want string) error {
	limit := Patience
	if want != "" && h.Patient {
		limit = time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return sink.Send(ctx, req)
}
