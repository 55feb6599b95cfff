package server

import (
	"net/http"
	"time"
)

// Reload is what a reload of the configuration came to.
type Reload struct {
	// At is when it began, Cause who asked for it: "signal", "api" or "file".
	At    time.Time `json:"at"`
	Cause string    `json:"cause"`
	// Result is "applied", "unchanged", "invalid" or "refused". OK says that the
	// configuration that was read is the one that runs.
	Result string `json:"result"`
	OK     bool   `json:"ok"`
	// Changed are the parts that were changed, by their keys.
	Changed []string `json:"changed,omitempty"`
	// Errors say why nothing was changed.
	Errors  []string `json:"errors,omitempty"`
	Seconds float64  `json:"seconds"`
}

// reloadTimeout is how long a reload may take that an answer waits for. It goes on
// afterwards.
const reloadTimeout = 5 * time.Minute

// serveReload has the configuration reloaded, and answers 422 when nothing was
// changed because it can't be.
func (s *Server) serveReload(w http.ResponseWriter, r *http.Request) {
	setHeaders(w)
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		writeError(w, http.StatusMethodNotAllowed, "method "+r.Method+" is not allowed here; use POST")
		return
	}
	control := http.NewResponseController(w)
	until := time.Now().Add(reloadTimeout)
	_ = control.SetReadDeadline(until) // where it can't be set, the answer may come too late
	_ = control.SetWriteDeadline(until)
	result, err := s.opts.Reload(r.Context())
	switch {
	case err != nil:
		writeError(w, http.StatusServiceUnavailable, err.Error())
	case !result.OK:
		writeJSON(w, http.StatusUnprocessableEntity, result)
	default:
		writeJSON(w, http.StatusOK, result)
	}
}
