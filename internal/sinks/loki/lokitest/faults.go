package lokitest

import (
	"io"
	"net/http"
)

// Fault is what goes wrong with one push. The zero Fault answers 500 without
// storing anything.
type Fault struct {
	// Store reads, checks and stores the push before it fails. Without it,
	// nothing is stored.
	Store bool
	// Status, Header and Body are the answer; the status is 500 when zero.
	Status int
	Header http.Header
	Body   string
	// Early answers before the body is read, as proxies do.
	Early bool
	// CutBody closes the connection in the middle of the request's body.
	CutBody bool
	// CutAnswer closes the connection instead of answering.
	CutAnswer bool
	// Hang answers nothing until the client goes away or the server is closed.
	Hang bool
}

// beforeBody does what happens before the body has been read, and reports
// whether that was all.
func (f *Fault) beforeBody(s *Server, w http.ResponseWriter, r *http.Request) bool {
	switch {
	case f.CutBody:
		_, _ = io.CopyN(io.Discard, r.Body, max(1, r.ContentLength/2))
		cut(w)
	case f.Early:
		f.answer(s, w, r)
	default:
		return false
	}
	return true
}

// answer does what happens after the body has been read.
func (f *Fault) answer(s *Server, w http.ResponseWriter, r *http.Request) {
	switch {
	case f.Hang:
		select {
		case <-r.Context().Done():
		case <-s.done:
		}
		cut(w)
	case f.CutAnswer:
		cut(w)
	default:
		for name, values := range f.Header {
			w.Header()[name] = values
		}
		status := f.Status
		if status == 0 {
			status = http.StatusInternalServerError
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, f.Body) // The client may be gone.
	}
}

// cut closes the connection without an answer.
func cut(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = conn.Close()
	}
}
