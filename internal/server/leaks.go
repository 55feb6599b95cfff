package server

import (
	"bytes"
	"net/http"
	"time"
)

// serveLeaks answers with what the agent occupies, and what of it grows.
func (s *Server) serveLeaks(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.opts.Leaks())
}

// serveBundle answers with an archive for a bug report. It is made whole before
// it is sent, so that an error can be told.
func (s *Server) serveBundle(w http.ResponseWriter, r *http.Request) {
	setHeaders(w)
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		writeError(w, http.StatusMethodNotAllowed, "method "+r.Method+" is not allowed here; use POST")
		return
	}
	var bundle bytes.Buffer
	if err := s.opts.SupportBundle(&bundle); err != nil {
		s.opts.Logger.ErrorContext(r.Context(), "support_bundle_failed", "error", err)
		writeError(w, http.StatusInternalServerError, err.Error())
		return
	}
	name := "log_capturer-support-" + time.Now().UTC().Format("20060102T150405Z") + ".tar.gz"
	w.Header().Set("Content-Type", "application/gzip")
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	_, _ = w.Write(bundle.Bytes()) // the client may be gone
}

// sameOrigin refuses requests that a page of another site makes a browser send.
var sameOrigin = http.NewCrossOriginProtection()
