package fakeengine

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// route is one endpoint of the API.
type route struct {
	endpoint   Endpoint
	methods    []string
	path       *regexp.Regexp
	parameters []string
	serve      func(e *Engine, w http.ResponseWriter, r *http.Request, ref string)
}

// routes are all that the engine serves. A path's group is the reference to a
// container.
var routes = []route{
	{Ping, []string{"GET", "HEAD"}, regexp.MustCompile(`^/_ping$`), nil, (*Engine).servePing},
	{Version, []string{"GET"}, regexp.MustCompile(`^/version$`), nil, (*Engine).serveVersion},
	{Info, []string{"GET"}, regexp.MustCompile(`^/info$`), nil, (*Engine).serveInfo},
	{List, []string{"GET"}, regexp.MustCompile(`^/containers/json$`), []string{"all", "filters"}, (*Engine).serveList},
	{Inspect, []string{"GET"}, regexp.MustCompile(`^/containers/([^/]+)/json$`), nil, (*Engine).serveInspect},
	{Logs, []string{"GET"}, regexp.MustCompile(`^/containers/([^/]+)/logs$`),
		[]string{"follow", "stdout", "stderr", "since", "until", "timestamps", "tail"}, (*Engine).serveLogs},
	{Events, []string{"GET"}, regexp.MustCompile(`^/events$`), []string{"since", "until", "filters"}, (*Engine).serveEvents},
}

var versionPrefix = regexp.MustCompile(`^/v(\d+)\.(\d+)(/.*)$`)

// serve answers one request, or fails the test when there is no such endpoint.
func (e *Engine) serve(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	if e.server == nil {
		e.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	e.handlers.Add(1)
	e.mu.Unlock()
	defer e.handlers.Done()
	w.Header().Set("Api-Version", e.options.APIVersion)
	w.Header().Set("Docker-Experimental", "false")
	w.Header().Set("Ostype", "linux")
	w.Header().Set("Server", "Docker/scripted (linux)")
	path := r.URL.Path
	if m := versionPrefix.FindStringSubmatch(path); m != nil {
		if version := m[1] + "." + m[2]; newer(version, e.options.APIVersion) {
			writeError(w, http.StatusBadRequest, "client version "+version+
				" is too new. Maximum supported API version is "+e.options.APIVersion)
			return
		}
		path = m[3]
	}
	for i := range routes {
		m := routes[i].path.FindStringSubmatch(path)
		if m == nil || !slices.Contains(routes[i].methods, r.Method) {
			continue
		}
		if !e.checkQuery(w, r, routes[i].parameters) || !e.admit(r.Context(), routes[i].endpoint, w) {
			return
		}
		routes[i].serve(e, w, r, m[len(m)-1])
		return
	}
	e.t.Errorf("the engine's API has no %s %s", r.Method, r.URL.Path)
	writeError(w, http.StatusNotFound, "page not found")
}

// checkQuery fails the test for a parameter that is unknown, or given twice.
func (e *Engine) checkQuery(w http.ResponseWriter, r *http.Request, known []string) bool {
	query, err := url.ParseQuery(r.URL.RawQuery)
	for name, values := range query {
		if !slices.Contains(known, name) || len(values) != 1 {
			e.t.Errorf("%s has no parameter %q, or has it once: %s", r.URL.Path, name, r.URL.RawQuery)
			err = http.ErrNotSupported
		}
	}
	if err != nil {
		writeError(w, http.StatusBadRequest, "bad parameters")
	}
	return err == nil
}

// newer reports whether API version a is higher than b.
func newer(a, b string) bool {
	number := func(v string) int {
		major, minor, _ := strings.Cut(v, ".")
		m, _ := strconv.Atoi(major)
		n, _ := strconv.Atoi(minor)
		return m*1000 + n
	}
	return number(a) > number(b)
}

// isTrue reports what the engine takes a boolean parameter for.
func isTrue(value string) bool {
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}

// parseFilters decodes a filters parameter: {"type":["container"]}, or with
// maps for the lists, as older clients write it.
func parseFilters(value string) (map[string][]string, error) {
	if value == "" {
		return nil, nil
	}
	var lists map[string][]string
	if json.Unmarshal([]byte(value), &lists) == nil {
		return lists, nil
	}
	var sets map[string]map[string]bool
	if err := json.Unmarshal([]byte(value), &sets); err != nil {
		return nil, err
	}
	lists = map[string][]string{}
	for name, set := range sets {
		for v, on := range set {
			if on {
				lists[name] = append(lists[name], v)
			}
		}
	}
	return lists, nil
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

// writeError answers with an error, in the engine's form.
func writeError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, map[string]string{"message": message})
}

func (e *Engine) servePing(w http.ResponseWriter, r *http.Request, _ string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if r.Method == http.MethodGet {
		w.Write([]byte("OK"))
	}
}

func (e *Engine) serveVersion(w http.ResponseWriter, _ *http.Request, _ string) {
	writeJSON(w, http.StatusOK, map[string]any{
		"Version": "scripted", "ApiVersion": e.options.APIVersion, "MinAPIVersion": "1.12",
		"GitCommit": "", "GoVersion": "", "Os": "linux", "Arch": "amd64", "KernelVersion": "",
	})
}

func (e *Engine) serveInfo(w http.ResponseWriter, _ *http.Request, _ string) {
	e.mu.Lock()
	running, paused := 0, 0
	for _, c := range e.containers {
		switch c.state {
		case Running:
			running++
		case Paused:
			paused++
		}
	}
	total := len(e.containers)
	root := cmp.Or(e.options.DataRoot, "/var/lib/docker")
	e.mu.Unlock()
	writeJSON(w, http.StatusOK, map[string]any{
		"ID": "scripted", "Name": "scripted", "ServerVersion": "scripted", "LoggingDriver": "json-file",
		"OSType": "linux", "Architecture": "x86_64", "NCPU": 2, "Driver": "overlay2", "DockerRootDir": root,
		"Containers": total, "ContainersRunning": running, "ContainersPaused": paused,
		"ContainersStopped": total - running - paused,
	})
}
