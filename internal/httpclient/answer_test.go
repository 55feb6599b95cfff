package httpclient

import (
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"log_capturer/internal/delivery"
)

func TestClassify(t *testing.T) {
	const (
		ok        = "ok"
		transient = "transient"
		permanent = "permanent"
		tooLarge  = "too large"
	)
	f := func(status int, want, hint string) {
		t.Helper()
		r := &Response{Status: status, Header: http.Header{}, Message: "said so"}
		err := r.Classify()
		got := transient
		switch {
		case err == nil:
			got = ok
		case errorIs[*delivery.PermanentError](err):
			got = permanent
		case errorIs[*delivery.TooLargeError](err):
			got = tooLarge
		}
		if got != want {
			t.Errorf("%d is %s, want %s", status, got, want)
		}
		if err != nil && (!strings.Contains(err.Error(), "said so") || !strings.Contains(err.Error(), hint)) {
			t.Errorf("%d: %q does not tell %q", status, err, hint)
		}
		if status, isStatus := errors.AsType[*StatusError](err); isStatus && hint == "" && status.Hint != "" {
			t.Errorf("%d hints %q", status.Status, status.Hint)
		}
	}
	f(200, ok, "")
	f(204, ok, "")
	f(301, transient, "redirects are not followed")
	f(308, transient, "redirects are not followed")
	f(400, permanent, "")
	f(401, transient, "credentials")
	f(403, transient, "rights")
	f(404, transient, "path of the sink's url")
	f(405, transient, "path of the sink's url")
	f(407, transient, "proxy")
	f(408, transient, "")
	f(411, transient, "check the sink's url")
	f(413, tooLarge, "")
	f(415, transient, "encoding")
	f(422, permanent, "")
	f(425, transient, "")
	f(429, transient, "")
	f(431, transient, "headers")
	f(500, transient, "")
	f(502, transient, "")
	f(503, transient, "")
	f(599, transient, "")
}

func errorIs[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f := func(value string, want time.Duration) {
		t.Helper()
		if got := parseRetryAfter(value, now); got != want {
			t.Errorf("Retry-After %q is %v, want %v", value, got, want)
		}
	}
	f("", 0)
	f("0", 0)
	f("7", 7*time.Second)
	f(" 7 ", 7*time.Second)
	f("0.5", 500*time.Millisecond)
	f("-3", 0)
	f("soon", 0)
	f("NaN", 0)
	f("1e300", time.Hour)
	f("Inf", time.Hour)
	f("999999999999999999999", time.Hour)
	f("Fri, 02 Jan 2026 03:04:35 GMT", 30*time.Second)
	f("Fri, 02 Jan 2026 03:04:00 GMT", 0)
	f("Sat, 03 Jan 2026 03:04:05 GMT", time.Hour)

	r := &Response{Status: 429, Header: http.Header{"Retry-After": {"3"}}}
	retry, ok := errors.AsType[*delivery.RetryAfterError](r.Classify())
	if !ok || retry.After != 3*time.Second {
		t.Errorf("429 with Retry-After: 3 is %v", r.Classify())
	}
}

func TestMessagesHoldNoSecrets(t *testing.T) {
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "you sent "+r.Header.Get("Authorization")+" and\x00\x1b[31m "+r.Header.Get("X-Key")+"\xff")
	})
	f := func(o Options, secrets ...string) {
		t.Helper()
		res, err := mustNew(t, o).Post(t.Context(), u, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range secrets {
			if !strings.Contains(string(res.Body), s) {
				t.Errorf("%q was not sent", s)
			}
			if text := res.Classify().Error(); strings.Contains(text, s) || strings.ContainsAny(text, "\x00\x1b") || !utf8.ValidString(text) {
				t.Errorf("%q shows %q, or is not printable", text, s)
			}
		}
	}
	f(Options{BearerToken: "s3cr3t-token"}, "s3cr3t-token")
	f(Options{BasicAuth: &BasicAuth{Username: "u", Password: "pass word"}},
		base64.StdEncoding.EncodeToString([]byte("u:pass word")))
	f(Options{Headers: map[string]string{"X-Key": "key-12345"}}, "key-12345")
}

func TestSecretsAreReadAgain(t *testing.T) {
	var got string
	u := serve(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Get("Authorization") })
	path := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n")
	c := mustNew(t, Options{BearerTokenFile: path})
	post := func(want string) {
		t.Helper()
		if _, err := c.Post(t.Context(), u, nil, nil); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("sent %q, want %q", got, want)
		}
	}
	post("Bearer first")
	write("second!")
	post("Bearer second!")

	// As a mounted secret changes: another file takes the name, of the same
	// size and time.
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	next := path + ".next"
	if err := errors.Join(os.WriteFile(next, []byte("third!!"), 0o600), os.Chtimes(next, info.ModTime(), info.ModTime()),
		os.Rename(next, path)); err != nil {
		t.Fatal(err)
	}
	post("Bearer third!!")

	// While there is none, nothing is sent with the old one.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Post(t.Context(), u, nil, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the file: %v", err)
	}
	write("")
	if _, err := c.Post(t.Context(), u, nil, nil); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("with an empty file: %v", err)
	}
	write("fourth")
	post("Bearer fourth")

	basic := mustNew(t, Options{BasicAuth: &BasicAuth{Username: "u", PasswordFile: path}})
	if _, err := basic.Post(t.Context(), u, nil, nil); err != nil {
		t.Fatal(err)
	}
	if want := "Basic " + base64.StdEncoding.EncodeToString([]byte("u:fourth")); got != want {
		t.Errorf("sent %q, want %q", got, want)
	}
}
