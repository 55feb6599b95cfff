package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"
	"unicode/utf8"

	"log_capturer/internal/livetail"
	"log_capturer/internal/record"
)

// tailIdle is how often a tail that has nothing to show sends an empty line, so
// that an end of the connection is noticed on both sides.
const tailIdle = 15 * time.Second

// TailLine is a line of what /api/v1/tail answers: a record, or, where Skipped
// is set, the word that records are missing there.
type TailLine struct {
	Time        time.Time `json:"time,omitzero"`
	Container   string    `json:"container,omitempty"`
	ContainerID string    `json:"container_id,omitempty"`
	Image       string    `json:"image,omitempty"`
	// File is the path of a file that is read as such.
	File   string `json:"file,omitempty"`
	Stream string `json:"stream,omitempty"`
	// Line is the line, with U+FFFD for bytes that are not UTF-8. Raw holds all
	// its bytes in that case, in base64.
	Line string `json:"line"`
	Raw  []byte `json:"raw,omitempty"`
	// Cut, Continued and Unterminated are the record's marks.
	Cut          bool `json:"cut,omitempty"`
	Continued    bool `json:"continued,omitempty"`
	Unterminated bool `json:"unterminated,omitempty"`
	// Skipped counts records of the wanted containers that were not sent since
	// the one who reads is too slow.
	Skipped uint64 `json:"skipped,omitempty"`
}

// serveTail sends records as they are accepted, one JSON object a line, until
// the client or the agent ends. The parameters source (any number), stream,
// text and regexp say which.
func (s *Server) serveTail(w http.ResponseWriter, r *http.Request) {
	if s.opts.Tail == nil {
		writeError(w, http.StatusNotFound, "this agent has no tail")
		return
	}
	query := r.URL.Query()
	filter, err := livetail.NewFilter(query["source"], query.Get("stream"), query.Get("text"), query.Get("regexp"))
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	if r.Method == http.MethodHead {
		return
	}
	watcher, err := s.opts.Tail.Watch(filter)
	if err != nil {
		writeError(w, http.StatusTooManyRequests, err.Error())
		return
	}
	defer watcher.Close()

	// A tail lasts as long as its client; a write that is blocked by a slow one
	// ends with the server.
	control := http.NewResponseController(w)
	if err := errors.Join(control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Time{})); err != nil {
		writeError(w, http.StatusInternalServerError, err.Error())
		return
	}
	stop := context.AfterFunc(r.Context(), func() { _ = control.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	w.Header().Set("Content-Type", "application/x-ndjson; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	// Its errors are of a client that is gone.
	_ = sendTail(r.Context(), w, control, watcher)
}

// sendTail writes what a watcher gets, until ctx ends or w fails.
func sendTail(ctx context.Context, w http.ResponseWriter, control *http.ResponseController, watcher *livetail.Watcher) error {
	out := bufio.NewWriterSize(w, 32<<10)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for {
		if err := errors.Join(out.Flush(), control.Flush()); err != nil {
			return err
		}
		batch, skipped, err := nextTail(ctx, watcher)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil: // nothing came
			if err := out.WriteByte('\n'); err != nil {
				return err
			}
			continue
		}
		if skipped > 0 {
			if err := encoder.Encode(struct {
				Skipped uint64 `json:"skipped"`
			}{skipped}); err != nil {
				return err
			}
		}
		if batch == nil {
			continue
		}
		err = encodeTail(encoder, watcher, batch)
		batch.Release()
		if err != nil {
			return err
		}
	}
}

// nextTail is Next with a bound on the wait.
func nextTail(ctx context.Context, watcher *livetail.Watcher) (*record.Batch, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, tailIdle)
	defer cancel()
	return watcher.Next(ctx)
}

// encodeTail writes the wanted records of a batch.
func encodeTail(encoder *json.Encoder, watcher *livetail.Watcher, b *record.Batch) error {
	line := TailLine{Container: b.Source.ContainerName, ContainerID: b.Source.ContainerID, Image: b.Source.Image, File: b.Source.FilePath}
	for i := range b.Records {
		r := &b.Records[i]
		if !watcher.Wants(b, r) {
			continue
		}
		text := b.Line(r)
		line.Time, line.Stream, line.Line, line.Raw = r.Timestamp().UTC(), r.Stream.String(), string(text), nil
		if !utf8.Valid(text) {
			line.Raw = text
		}
		line.Cut, line.Continued, line.Unterminated = r.Flags&record.Cut != 0, r.Flags&record.Continued != 0, r.Flags&record.Unterminated != 0
		if err := encoder.Encode(&line); err != nil {
			return err
		}
	}
	return nil
}
