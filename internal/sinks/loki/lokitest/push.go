package lokitest

import (
	"errors"
	"io"
	"log"
	"net/http"
	"strings"
)

// pushPath is the only path there is.
const pushPath = "/loki/api/v1/push"

// serve answers one request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.active.RLock()
	defer s.active.RUnlock()
	if r.URL.Path != pushPath {
		s.violation(w, http.StatusNotFound, "path %q: pushes go to %s", r.URL.Path, pushPath)
		return
	}
	if r.Method != http.MethodPost {
		s.violation(w, http.StatusMethodNotAllowed, "method %s: pushes are posted", r.Method)
		return
	}
	fault, failing := s.begin(r)
	if failing && fault.beforeBody(s, w, r) {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		// The client went away, which is no mistake of the protocol.
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if failing && !fault.Store {
		fault.answer(s, w, r)
		return
	}
	d := s.decoders.Get().(*decoder)
	defer s.decoders.Put(d)
	switch status, err := d.decode(r.Header, body); {
	case errors.Is(err, errNoStreams):
		s.mu.Lock()
		s.stats.Empty++
		s.mu.Unlock()
		// Loki's pkg/distributor, before it looks at anything else.
		http.Error(w, "error at least one valid stream is required for ingestion", http.StatusUnprocessableEntity)
		return
	case err != nil:
		s.violation(w, status, "%v", err)
		return
	}
	status, text := s.store(r.Header.Get("X-Scope-OrgID"), d)
	switch {
	case failing:
		fault.answer(s, w, r)
	case text != "":
		http.Error(w, text, status)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// begin counts the request and asks for its fault.
func (s *Server) begin(r *http.Request) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.stats.Requests
	s.stats.Requests++
	if s.options.Fault == nil {
		return Fault{}, false
	}
	return s.options.Fault(n, r)
}

// store applies the limits and stores what is left. It returns Loki's answer:
// no text for a 204.
func (s *Server) store(tenant string, d *decoder) (status int, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var distributor groupedErrors
	var ingester string
	for i := range d.streams {
		stream := &d.streams[i]
		entries := distributor.filter(s.options.Limits, stream.labels, stream.entries)
		s.stats.Refused += len(stream.entries) - len(entries)
		// Each stream's result replaces the one before it: a push is answered
		// with that of its last stream. So does Loki's ingester.
		ingester = ""
		var refused []refusedEntry
		key := streamKey{tenant, stream.labels}
		for j := range entries {
			e := &entries[j]
			if err := s.options.Limits.checkOrder(s.highest[key], e.time); err != nil {
				refused = append(refused, refusedEntry{e.time, err})
				continue
			}
			s.storeEntry(key, e)
		}
		if len(refused) > 0 {
			s.stats.Refused += len(refused)
			ingester = ingesterText(refused, len(entries), tenant, stream.labels)
		}
	}
	switch {
	case ingester != "":
		return http.StatusBadRequest, ingester
	case len(distributor.counts) > 0:
		return http.StatusBadRequest, distributor.String()
	default:
		s.stats.Pushes++
		return http.StatusNoContent, ""
	}
}

// storeEntry counts and keeps an entry. The caller holds the lock.
func (s *Server) storeEntry(key streamKey, e *entry) {
	if s.options.Deduplicate {
		id := identity{key, e.time, string(e.line)}
		if _, ok := s.seen[id]; ok {
			s.stats.Duplicates++
			return
		}
		s.seen[id] = struct{}{}
	}
	s.highest[key] = max(s.highest[key], e.time)
	s.stats.Entries++
	s.stats.LineBytes += int64(len(e.line))
	if s.options.OnEntry != nil {
		s.options.OnEntry(key.labels, e.time, e.line, e.metadata)
	}
	if s.options.Keep {
		s.entries = append(s.entries, e.keep(key.tenant, key.labels))
	}
}

// discardLog is a logger for what the HTTP server has to say of broken
// connections, most of which this package breaks itself.
func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }

// mediaType returns a Content-Type without parameters, or none when it has
// some: nothing that the push API takes needs them.
func mediaType(h http.Header) string {
	values := h.Values("Content-Type")
	if len(values) != 1 || strings.Contains(values[0], ";") {
		return ""
	}
	return values[0]
}
