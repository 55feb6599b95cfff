package server

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestReload says what a reload is answered with.
func TestReload(t *testing.T) {
	f := func(method, origin string, result Reload, err error, status int, want string) {
		t.Helper()
		asked := false
		s := &Server{opts: Options{Reload: func(context.Context) (Reload, error) { asked = true; return result, err }}}
		r := httptest.NewRequest(method, "http://agent/api/v1/config/reload", nil)
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		w := httptest.NewRecorder()
		s.apiHandler().ServeHTTP(w, r)
		if w.Code != status || !strings.Contains(w.Body.String(), want) || asked != (status < 400 || status == 422 || status == 503) {
			t.Errorf("%s from %q: %d %s, asked %v; want %d with %q", method, origin, w.Code, w.Body, asked, status, want)
		}
	}
	applied := Reload{Result: "applied", OK: true, Changed: []string{"pipelines", "sinks.main"}}
	f("POST", "", applied, nil, http.StatusOK, `"sinks.main"`)
	f("POST", "http://agent", applied, nil, http.StatusOK, `"applied"`)
	f("POST", "http://evil", applied, nil, http.StatusForbidden, "")
	f("GET", "", applied, nil, http.StatusMethodNotAllowed, "use POST")
	f("POST", "", Reload{Result: "invalid", Errors: []string{"c.yaml:1:2: no"}}, nil, http.StatusUnprocessableEntity, `"c.yaml:1:2: no"`)
	f("POST", "", Reload{}, errors.New("the agent is stopping"), http.StatusServiceUnavailable, "stopping")
}
