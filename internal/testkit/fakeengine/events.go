package fakeengine

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"time"
)

// historySize is how many events the engine remembers for since.
const historySize = 256

// event is something that the engine tells.
type event struct {
	at   time.Time
	body map[string]any
	// action, id, name and labels are what filters look at.
	action, id, name, image string
	labels                  map[string]string
}

// listener is one open stream of events. It is guarded by the engine's lock.
type listener struct {
	pending []event
	wake    chan struct{}
	cut     bool
}

// notify wakes the listener's request.
func (l *listener) notify() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// emit tells of something that happened to a container. e.mu is held.
func (e *Engine) emit(c *Container, action string, extra map[string]string) {
	if e.loseEvents {
		return
	}
	now := time.Now()
	attributes := labelsOf(c)
	attributes["image"], attributes["name"] = c.config.Image, c.name
	maps.Copy(attributes, extra)
	ev := event{
		at: now, action: action, id: c.id, name: c.name, image: c.config.Image, labels: labelsOf(c),
		body: map[string]any{
			"status": action, "id": c.id, "from": c.config.Image, "Type": "container", "Action": action,
			"Actor": map[string]any{"ID": c.id, "Attributes": attributes},
			"scope": "local", "time": now.Unix(), "timeNano": now.UnixNano(),
		},
	}
	e.history = append(e.history, ev)
	if len(e.history) > historySize {
		e.history = slices.Clone(e.history[len(e.history)-historySize:])
	}
	for l := range e.listeners {
		l.pending = append(l.pending, ev)
		l.notify()
	}
}

func (e *Engine) serveEvents(w http.ResponseWriter, r *http.Request, _ string) {
	values := r.URL.Query()
	since, err := parseTime(values.Get("since"))
	until, err2 := parseTime(values.Get("until"))
	filters, err3 := parseFilters(values.Get("filters"))
	if err != nil || err2 != nil || err3 != nil {
		e.t.Errorf("bad parameters of events: %s", r.URL.RawQuery)
		writeError(w, http.StatusBadRequest, "bad parameters")
		return
	}
	for name := range filters {
		if !slices.Contains([]string{"type", "event", "container", "image", "label"}, name) {
			e.t.Errorf("the scripted engine's events have no filter %q", name)
			writeError(w, http.StatusBadRequest, "invalid filter '"+name+"'")
			return
		}
	}
	l := &listener{wake: make(chan struct{}, 1)}
	e.mu.Lock()
	if !since.IsZero() {
		for _, ev := range e.history {
			if !ev.at.Before(since) {
				l.pending = append(l.pending, ev)
			}
		}
	}
	e.listeners[l] = true
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.listeners, l)
		e.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w).Flush
	flush()
	var expired <-chan time.Time
	if !until.IsZero() {
		expired = time.After(time.Until(until))
	}
	encoder := json.NewEncoder(w)
	for {
		e.mu.Lock()
		pending, cut := l.pending, l.cut
		l.pending = nil
		e.mu.Unlock()
		for _, ev := range pending {
			if (until.IsZero() || !ev.at.After(until)) && ev.passes(filters) {
				encoder.Encode(ev.body)
			}
		}
		flush()
		if cut {
			return
		}
		select {
		case <-l.wake:
		case <-expired:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// passes reports whether every filter has a value that matches the event.
func (ev *event) passes(filters map[string][]string) bool {
	for name, values := range filters {
		if !slices.ContainsFunc(values, func(value string) bool { return ev.matches(name, value) }) {
			return false
		}
	}
	return true
}

func (ev *event) matches(filter, value string) bool {
	switch filter {
	case "type":
		return value == "container"
	case "event":
		return value == ev.action
	case "container":
		return value == ev.id || value == ev.name
	case "image":
		return value == ev.image
	default: // label
		for k, v := range ev.labels {
			if value == k || value == k+"="+v {
				return true
			}
		}
		return false
	}
}
