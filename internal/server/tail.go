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
	"log_capturer/internal/pipeline"
	"log_capturer/internal/record"
)

// tailIdle is how often a tail that has nothing to show sends an empty line, so
// that an end of the connection is noticed on both sides.
const tailIdle = 15 * time.Second

// TailLine is a line of what /api/v1/tail answers: a record, or, where Skipped
// or Trouble is set, the word that records are missing there.
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
	// Level is what a pipeline has found, or the beginning of the line says.
	Level string `json:"level,omitempty"`
	// Fields and Labels are the attributes and labels that a pipeline has made.
	Fields map[string]json.RawMessage `json:"fields,omitempty"`
	Labels map[string]string          `json:"labels,omitempty"`
	// Cut, Continued and Unterminated are the record's marks.
	Cut          bool `json:"cut,omitempty"`
	Continued    bool `json:"continued,omitempty"`
	Unterminated bool `json:"unterminated,omitempty"`
	// Skipped counts records of the wanted containers that were not sent since
	// the one who reads is too slow.
	Skipped uint64 `json:"skipped,omitempty"`
	// Trouble says, once, why the expression could not be held against a record.
	Trouble string `json:"trouble,omitempty"`
}

// serveTail sends records as they are accepted, one JSON object a line, until
// the client or the agent ends. The parameters source (any number), stream,
// level, text, regexp, where and stage say which.
func (s *Server) serveTail(w http.ResponseWriter, r *http.Request) {
	if s.opts.Tail == nil {
		writeError(w, http.StatusNotFound, "this agent has no tail")
		return
	}
	query := r.URL.Query()
	filter, err := livetail.NewFilter(livetail.Query{
		Sources: query["source"], Stream: query.Get("stream"), Level: query.Get("level"),
		Text: query.Get("text"), Regexp: query.Get("regexp"), Where: query.Get("where"), Stage: query.Get("stage"),
	})
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
	troubled := false
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
		err = encodeTail(encoder, watcher, batch, &troubled)
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

// encodeTail writes the wanted records of a batch. Troubled says that it was told
// already that the watcher's expression could not be held against a record.
func encodeTail(encoder *json.Encoder, watcher *livetail.Watcher, b *record.Batch, troubled *bool) error {
	for i := range b.Records {
		r := &b.Records[i]
		wanted, trouble := watcher.Wants(b, r)
		if trouble != nil && !*troubled {
			*troubled = true
			if err := encoder.Encode(struct {
				Trouble string `json:"trouble"`
			}{trouble.Error()}); err != nil {
				return err
			}
		}
		if !wanted {
			continue
		}
		if err := encoder.Encode(tailLine(b, r)); err != nil {
			return err
		}
	}
	return nil
}

// tailLine returns what is shown of a record.
func tailLine(b *record.Batch, r *record.Record) *TailLine {
	e := pipeline.Seen(b, r)
	line := &TailLine{
		Time: r.Timestamp().UTC(), Stream: r.Stream.String(), Line: string(e.Line), Level: e.Level.String(),
		Container: b.Source.ContainerName, ContainerID: b.Source.ContainerID, Image: b.Source.Image, File: b.Source.FilePath,
		Cut: r.Flags&record.Cut != 0, Continued: r.Flags&record.Continued != 0, Unterminated: r.Flags&record.Unterminated != 0,
	}
	if !utf8.Valid(e.Line) {
		line.Raw = e.Line
	}
	for i := range e.Fields {
		if line.Fields == nil {
			line.Fields = make(map[string]json.RawMessage, len(e.Fields))
		}
		line.Fields[e.Fields[i].Name] = e.Fields[i].Value.AppendJSON(nil)
	}
	for _, l := range e.Labels {
		if line.Labels == nil {
			line.Labels = make(map[string]string, len(e.Labels))
		}
		line.Labels[l.Name] = l.Value
	}
	return line
}
