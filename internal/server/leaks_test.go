package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"log_capturer/internal/lifetime"
)

func TestLeaksAndSupportBundle(t *testing.T) {
	fail := false
	s := &Server{opts: Options{
		Logger: slog.New(slog.DiscardHandler),
		Leaks:  func() any { return map[string]string{"verdict": "steady"} },
		SupportBundle: func(w io.Writer) error {
			if fail {
				return errors.New("no bundle today")
			}
			_, err := io.WriteString(w, "an archive")
			return err
		},
	}}
	handler := s.apiHandler()
	f := func(method, path, site string, status int, body string) *httptest.ResponseRecorder {
		t.Helper()
		r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
		if site != "" {
			r.Header.Set("Sec-Fetch-Site", site)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != status || !strings.Contains(w.Body.String(), body) {
			t.Errorf("%s %s from %q: %d %q, want %d %q", method, path, site, w.Code, w.Body, status, body)
		}
		return w
	}
	const bundle = "/api/v1/support-bundle"
	f(http.MethodGet, "/api/v1/leaks", "", http.StatusOK, `"verdict": "steady"`)
	f(http.MethodPost, "/api/v1/leaks", "", http.StatusMethodNotAllowed, "use GET")
	w := f(http.MethodPost, bundle, "", http.StatusOK, "an archive")
	if got := w.Header().Get("Content-Disposition"); !strings.HasPrefix(got, `attachment; filename="log_capturer-support-2`) {
		t.Errorf("Content-Disposition %q", got)
	}
	if got := w.Header().Get("Content-Type"); got != "application/gzip" {
		t.Errorf("Content-Type %q", got)
	}
	f(http.MethodGet, bundle, "", http.StatusMethodNotAllowed, "use POST")
	f(http.MethodPost, bundle, "same-origin", http.StatusOK, "an archive")
	// A page of another site can't make a browser ask for one.
	f(http.MethodPost, bundle, "cross-site", http.StatusForbidden, "")
	fail = true
	f(http.MethodPost, bundle, "", http.StatusInternalServerError, "no bundle today")

	s.opts.Leaks, s.opts.SupportBundle = nil, nil
	handler = s.apiHandler()
	f(http.MethodGet, "/api/v1/leaks", "", http.StatusNotFound, "")
	f(http.MethodPost, bundle, "", http.StatusNotFound, "")
}

// A handler that does not return is given up at the end, and reported.
func TestAStuckHandlerIsGivenUp(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{})
	e := &endpoint{
		purpose: "test", address: "127.0.0.1:0", logger: slog.New(slog.DiscardHandler), grace: 50 * time.Millisecond,
		handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			close(entered)
			<-release
		}),
	}
	if err := e.bind(); err != nil {
		t.Fatal(err)
	}
	watch := lifetime.NewWatch(slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(lifetime.WithWatch(t.Context(), watch))
	ended := make(chan error, 1)
	go func() { ended <- e.run(ctx) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if resp, err := client.Get("http://" + e.listener.Addr().String()); err == nil {
			resp.Body.Close()
		}
	}()
	<-entered
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	current := watch.Current()
	if len(current) != 1 || current[0].Component != component || !strings.Contains(current[0].Stack, "TestAStuckHandlerIsGivenUp") {
		t.Errorf("overdue: %+v", current)
	}
	close(release)
	<-answered
	if !e.connections.Wait(time.Minute) {
		t.Error("the connection does not end after all")
	}
}
