package server

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
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
