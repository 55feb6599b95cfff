package fakeengine

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"log_capturer/internal/record"
)

// logRequest is what a request for a log asks for.
type logRequest struct {
	follow, timestamps bool
	streams            record.StreamSet
	since, until       time.Time
	// tail is the number of entries from the end, negative for all.
	tail int
}

// parseLogRequest reads the parameters as the engine does.
func parseLogRequest(r *http.Request) (q logRequest, status int, message string) {
	values := r.URL.Query()
	q.follow, q.timestamps = isTrue(values.Get("follow")), isTrue(values.Get("timestamps"))
	for s, name := range []string{"stdout", "stderr"} {
		if isTrue(values.Get(name)) {
			q.streams |= record.Only(record.Stream(s))
		}
	}
	if q.streams == 0 {
		return q, http.StatusBadRequest, "Bad parameters: you must choose at least one stream"
	}
	var err error
	q.tail = -1
	if tail, err := strconv.Atoi(values.Get("tail")); err == nil {
		q.tail = tail
	}
	if q.since, err = parseTime(values.Get("since")); err == nil {
		q.until, err = parseTime(values.Get("until"))
	}
	if err != nil {
		return q, http.StatusInternalServerError, err.Error()
	}
	return q, 0, ""
}

// parseTime reads seconds, or seconds.nanoseconds with up to nine digits of
// fraction. The zero time stands for no time.
func parseTime(value string) (time.Time, error) {
	if value == "" || value == "0" {
		return time.Time{}, nil
	}
	whole, fraction, _ := strings.Cut(value, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	var nanoseconds int64
	if fraction != "" {
		fraction = (fraction + "000000000")[:9]
		if nanoseconds, err = strconv.ParseInt(fraction, 10, 64); err != nil {
			return time.Time{}, err
		}
	}
	return time.Unix(seconds, nanoseconds), nil
}

// logStream is one log that is being read.
type logStream struct {
	container *Container
	request   logRequest
	// next counts the container's entries from its first one; end, where it is
	// set, is where the stream ends.
	next, end int
	// stalled and fault are set by tests, under the engine's lock. The fault
	// strikes when countdown entries were sent.
	stalled   bool
	fault     *fault
	countdown int
}

func (e *Engine) serveLogs(w http.ResponseWriter, r *http.Request, ref string) {
	q, status, message := parseLogRequest(r)
	e.mu.Lock()
	c, err := e.find(ref)
	switch {
	case err != nil:
		status, message = http.StatusNotFound, err.Error()
	case status != 0:
	case c.state == Dead || c.state == Removing:
		status, message = http.StatusConflict, "can not get logs from container which is dead or marked for removal"
	case c.config.LogDriver == "none":
		status, message = http.StatusNotImplemented, "configured logging driver does not support reading"
	}
	if status != 0 {
		e.mu.Unlock()
		writeError(w, status, message)
		return
	}
	s := &logStream{container: c, request: q, next: c.rotated}
	if q.tail >= 0 {
		s.next += max(0, len(c.entries)-q.tail)
	}
	// A container that does not run has no follower: its log has an end.
	s.request.follow = q.follow && c.running()
	if q.follow {
		e.open(s)
		defer e.close(s)
	}
	e.mu.Unlock()
	if newer(e.options.APIVersion, "1.41") {
		w.Header().Set("Content-Type", map[bool]string{
			true: "application/vnd.docker.raw-stream", false: "application/vnd.docker.multiplexed-stream",
		}[c.config.TTY])
	} else {
		w.Header()["Content-Type"] = nil
	}
	w.WriteHeader(http.StatusOK)
	e.send(s, w, r)
}

// open counts a follow stream. e.mu is held.
func (e *Engine) open(s *logStream) {
	c := s.container
	c.streams[s] = true
	c.counts.Open++
	c.counts.Opened++
	c.counts.Max = max(c.counts.Max, c.counts.Open)
	e.streams++
	e.streamsOpened++
	e.maxStreams = max(e.maxStreams, e.streams)
	if len(c.faults) > 0 {
		s.fault, c.faults = &c.faults[0], c.faults[1:]
		s.countdown = s.fault.after
	}
}

func (e *Engine) close(s *logStream) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(s.container.streams, s)
	s.container.counts.Open--
	e.streams--
}

// send writes the stream until its end, its fault, or the client leaves.
func (e *Engine) send(s *logStream, w http.ResponseWriter, r *http.Request) {
	flush := http.NewResponseController(w).Flush
	flush()
	for {
		e.mu.Lock()
		wake := s.container.changed
		out, more, over, strike := s.take(e.options.SinceOnce)
		e.mu.Unlock()
		if len(out) > 0 {
			if _, err := w.Write(out); err != nil {
				return
			}
			flush()
		}
		if strike != nil {
			strike.apply(w, s.container.config.TTY)
			return
		}
		if over {
			return
		}
		if more {
			continue
		}
		select {
		case <-wake:
		case <-r.Context().Done():
			return
		}
	}
}

// takeLimit bounds how much of a log is written at once, in bytes.
const takeLimit = 256 << 10

// take returns what is to be written next, and whether there is more to take at
// once, the stream is over, or is struck by a fault. The engine's lock is held.
func (s *logStream) take(sinceOnce bool) (out []byte, more, over bool, strike *fault) {
	c := s.container
	if s.stalled {
		return nil, false, false, nil
	}
	s.next = max(s.next, c.rotated)
	end := c.rotated + len(c.entries)
	if s.end > 0 {
		end = s.end
	}
	for ; s.next < end; s.next++ {
		if s.fault != nil && s.countdown <= 0 {
			break
		}
		if len(out) >= takeLimit {
			return out, true, false, nil
		}
		entry := &c.entries[s.next-c.rotated]
		if !s.request.since.IsZero() {
			if entry.Time.Before(s.request.since) {
				continue
			}
			if sinceOnce {
				s.request.since = time.Time{}
			}
		}
		if !s.request.until.IsZero() && entry.Time.After(s.request.until) {
			return out, false, true, nil
		}
		if s.request.streams.Has(entry.Stream) {
			out = append(out, entry.encode(s.request.timestamps, c.config.TTY)...)
			s.countdown--
		}
	}
	if s.fault != nil && s.countdown <= 0 {
		return out, false, true, s.fault
	}
	return out, false, !s.request.follow || !c.running() || s.end > 0, nil
}
