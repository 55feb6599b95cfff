package server

import (
	"net/http"

	"log_capturer/internal/health"
)

// apiHandler serves the API and the status page.
func (s *Server) apiHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/health", get(http.HandlerFunc(s.serveHealth)))
	mux.Handle("/ready", get(http.HandlerFunc(s.serveReady)))
	mux.Handle("/api/v1/status", get(http.HandlerFunc(s.serveStatus)))
	mux.Handle("/api/v1/containers", get(http.HandlerFunc(s.serveContainers)))
	if s.opts.Leaks != nil {
		mux.Handle("/api/v1/leaks", get(http.HandlerFunc(s.serveLeaks)))
	}
	if s.opts.SupportBundle != nil {
		mux.Handle("/api/v1/support-bundle", sameOrigin.Handler(http.HandlerFunc(s.serveBundle)))
	}
	if s.opts.Reload != nil {
		mux.Handle("/api/v1/config/reload", sameOrigin.Handler(http.HandlerFunc(s.serveReload)))
	}
	mux.Handle("/api/v1/positions", get(http.HandlerFunc(s.servePositions)))
	mux.Handle("/api/v1/tail", get(http.HandlerFunc(s.serveTail)))
	mux.Handle("/api/v1/files", get(http.HandlerFunc(s.serveFiles)))
	if s.opts.DeadLetters != nil {
		mux.HandleFunc("/api/v1/dead-letters", s.serveLetters)
		mux.HandleFunc("/api/v1/dead-letters/replay", s.serveReplay)
	}
	mux.Handle("/{$}", get(http.HandlerFunc(s.servePage)))
	mux.Handle("/", notFound)
	return mux
}

// healthAnswer is what /health answers.
type healthAnswer struct {
	Status     health.Status      `json:"status"`
	Components []health.Component `json:"components"`
}

// health asks every reporter.
func (s *Server) health() healthAnswer {
	components := []health.Component{}
	for _, reporter := range s.opts.Reporters {
		components = append(components, reporter.Health()...)
	}
	return healthAnswer{Status: health.Worst(components), Components: components}
}

// serveHealth answers 503 when the agent does not do its work, and 200 when it
// does all or part of it: a degraded agent recovers by itself, and one that is
// restarted for it would recover later.
func (s *Server) serveHealth(w http.ResponseWriter, _ *http.Request) {
	answer := s.health()
	status := http.StatusOK
	if answer.Status == health.Unhealthy {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, answer)
}

// serveReady answers 503 until the agent has started.
func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	type answer struct {
		Ready  bool   `json:"ready"`
		Reason string `json:"reason,omitempty"`
	}
	if s.opts.Ready != nil {
		if err := s.opts.Ready(); err != nil {
			writeJSON(w, http.StatusServiceUnavailable, answer{Reason: err.Error()})
			return
		}
	}
	writeJSON(w, http.StatusOK, answer{Ready: true})
}

func (s *Server) serveStatus(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.status(s.containers(), s.files()))
}

func (s *Server) serveFiles(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.files())
}

func (s *Server) servePositions(w http.ResponseWriter, _ *http.Request) {
	if s.opts.Positions == nil {
		writeError(w, http.StatusNotFound, "this agent has no positions")
		return
	}
	positions, err := s.opts.Positions()
	if err != nil {
		writeError(w, http.StatusInternalServerError, err.Error())
		return
	}
	writeJSON(w, http.StatusOK, positions)
}

func (s *Server) serveContainers(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.containers())
}
