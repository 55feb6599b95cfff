package server

import (
	"encoding/json"
	"net/http"
)

// get lets GET and HEAD through to next, and sets the headers that every answer
// has.
func get(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		setHeaders(w)
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			writeError(w, http.StatusMethodNotAllowed, "method "+r.Method+" is not allowed here; use GET")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// notFound answers for paths that nothing is served at.
var notFound = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	setHeaders(w)
	writeError(w, http.StatusNotFound, "nothing is served at "+r.URL.Path)
})

// setHeaders sets what every answer has: it is not to be kept, and not to be
// taken for anything that it does not say it is.
func setHeaders(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
}

// writeError answers with {"error": message}.
func writeError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, struct {
		Error string `json:"error"`
	}{message})
}

// writeJSON answers with value as indented JSON. A client that went away is no
// concern of the agent.
func writeJSON(w http.ResponseWriter, status int, value any) {
	body, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		// Only a value that JSON has no form for, such as a NaN.
		http.Error(w, `{"error": "encode answer"}`, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}
