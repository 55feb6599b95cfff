package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// DeadLetters are the records that destinations refused for good. Its methods
// may be called from any goroutine.
type DeadLetters interface {
	// List returns the selected letters, oldest first, at most limit of them
	// (0 for all), and how many there are in all.
	List(sel Selection, limit int) ([]Letter, int, error)
	// Purge removes letters, and returns how many.
	Purge(sel Selection) (int, error)
	// Replay begins to deliver letters, and returns how many it is to deliver.
	// The error is ErrBusy while another replay is under way.
	Replay(sel Selection, to string) (int, error)
	// Replaying says what has become of the last replay.
	Replaying() Replay
}

// ErrBusy says that something is under way already.
var ErrBusy = errors.New("busy")

// Selection says which letters are meant: those to which all of what is set
// applies.
type Selection struct {
	IDs    []uint64 `json:"ids,omitempty"`
	Sink   string   `json:"sink,omitempty"`
	Reason string   `json:"reason,omitempty"`
}

// Letter is a dead letter.
type Letter struct {
	ID     uint64          `json:"id"`
	Object json.RawMessage `json:"letter"`
}

// Replay is the state of a replay.
type Replay struct {
	Running  bool   `json:"running"`
	Total    int    `json:"total"`
	Accepted int    `json:"accepted"`
	Error    string `json:"error,omitempty"`
}

// defaultLetters is how many letters are listed when nothing else is asked for.
const defaultLetters = 100

// serveLetters lists letters (GET) and purges them (DELETE). The parameters are
// id, which may be given several times or with commas, sink, reason, and for GET
// limit. To purge all of them, all=true has to be given.
func (s *Server) serveLetters(w http.ResponseWriter, r *http.Request) {
	setHeaders(w)
	query := r.URL.Query()
	sel := Selection{Sink: query.Get("sink"), Reason: query.Get("reason")}
	for _, list := range query["id"] {
		for text := range strings.SplitSeq(list, ",") {
			id, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				writeError(w, http.StatusBadRequest, fmt.Sprintf("id: want the number of a letter, not %q", text))
				return
			}
			sel.IDs = append(sel.IDs, id)
		}
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		limit := defaultLetters
		if text := query.Get("limit"); text != "" {
			var err error
			if limit, err = strconv.Atoi(text); err != nil || limit < 0 {
				writeError(w, http.StatusBadRequest, fmt.Sprintf("limit: want a number, 0 for all, not %q", text))
				return
			}
		}
		letters, total, err := s.opts.DeadLetters.List(sel, limit)
		if err != nil {
			writeError(w, http.StatusInternalServerError, err.Error())
			return
		}
		writeJSON(w, http.StatusOK, struct {
			Total   int      `json:"total"`
			Letters []Letter `json:"letters"`
			Replay  Replay   `json:"replay"`
		}{total, letters, s.opts.DeadLetters.Replaying()})
	case http.MethodDelete:
		if len(sel.IDs) == 0 && sel.Sink == "" && sel.Reason == "" && query.Get("all") != "true" {
			writeError(w, http.StatusBadRequest, "say which letters to purge (id, sink, reason), or all=true")
			return
		}
		n, err := s.opts.DeadLetters.Purge(sel)
		if err != nil {
			writeError(w, http.StatusInternalServerError, err.Error())
			return
		}
		writeJSON(w, http.StatusOK, struct {
			Purged int `json:"purged"`
		}{n})
	default:
		w.Header().Set("Allow", "GET, HEAD, DELETE")
		writeError(w, http.StatusMethodNotAllowed, "method "+r.Method+" is not allowed here; use GET or DELETE")
	}
}

// serveReplay begins a replay. The body is a Selection, with "to" for the sink
// to deliver to.
func (s *Server) serveReplay(w http.ResponseWriter, r *http.Request) {
	setHeaders(w)
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		writeError(w, http.StatusMethodNotAllowed, "method "+r.Method+" is not allowed here; use POST")
		return
	}
	// A page of another origin can post, but not with this type.
	if r.Header.Get("Content-Type") != "application/json" {
		writeError(w, http.StatusUnsupportedMediaType, "want Content-Type: application/json")
		return
	}
	var order struct {
		Selection
		To string `json:"to"`
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&order); err != nil {
		writeError(w, http.StatusBadRequest, "decode order: "+err.Error())
		return
	}
	n, err := s.opts.DeadLetters.Replay(order.Selection, order.To)
	switch {
	case errors.Is(err, ErrBusy):
		writeError(w, http.StatusConflict, err.Error())
	case err != nil:
		writeError(w, http.StatusBadRequest, err.Error())
	default:
		writeJSON(w, http.StatusAccepted, struct {
			Selected int `json:"selected"`
		}{n})
	}
}
