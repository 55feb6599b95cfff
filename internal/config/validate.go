package config

import (
	"fmt"
	"net"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
)

// validator checks what the type of a single value cannot say: texts with a
// form of their own, and values that contradict each other.
//
// It stays silent about keys that could not be decoded: what they would hold is
// not known.
type validator struct{ *decoder }

// wrong reports an error of the key at path. It stands where the key does or,
// when the file does not have it, at the nearest section around it.
func (v validator) wrong(path, format string, args ...any) {
	if v.failed[path] {
		return
	}
	section := path
	for {
		pos, ok := v.set[section]
		if !ok && section != "" {
			section = section[:max(0, strings.LastIndexAny(section, ".["))]
			continue
		}
		if !ok {
			pos = position{1, 1}
		}
		v.errs = append(v.errs, v.newError(pos, path, fmt.Sprintf(format, args...)))
		return
	}
}

// contradiction reports that the values of several keys exclude each other. It
// stands at the first of them that the file has.
func (v validator) contradiction(paths []string, format string, args ...any) {
	if slices.ContainsFunc(paths, func(path string) bool { return v.failed[path] }) {
		return
	}
	at := paths[0]
	if i := slices.IndexFunc(paths, v.isSet); i >= 0 {
		at = paths[i]
	}
	v.wrong(at, format, args...)
}

// isSet reports whether the file has the key.
func (v validator) isSet(path string) bool {
	_, ok := v.set[path]
	return ok
}

func (v validator) config(c *Config) {
	if c.DataDir == "" {
		v.wrong("data_dir", "is empty; give the directory for what the agent keeps")
	}
	v.containerMonitor(&c.ContainerMonitor)
	if c.ContainerMonitor.MaxLineBytes > c.Dispatcher.WindowBytes {
		v.contradiction([]string{"container_monitor.max_line_bytes", "dispatcher.window_bytes"},
			"a line of container_monitor.max_line_bytes (%s) does not fit into dispatcher.window_bytes (%s)",
			c.ContainerMonitor.MaxLineBytes, c.Dispatcher.WindowBytes)
	}
	v.fileMonitor(c)
	v.kafkaSource(&c.KafkaSource)
	v.memoryLimit(c)
	v.sinks(c)
	v.listeners(c)
}

// memoryLimit checks that memory_limit leaves each sink a window that holds the
// largest thing that has to fit into it.
func (v validator) memoryLimit(c *Config) {
	if c.MemoryLimit == 0 {
		return
	}
	need := max(c.ContainerMonitor.MaxLineBytes, 64*kib)
	for _, s := range c.Sinks {
		need = max(need, s.Delivery.BatchBytes)
	}
	if got := c.WindowBytes(); got < min(need, c.Dispatcher.WindowBytes) {
		v.wrong("memory_limit", "%s is too little for these sinks: each would have %s for undelivered records, and needs %s; raise it, or lower batch_bytes and concurrency",
			c.MemoryLimit, got, need)
	}
}

func (v validator) containerMonitor(m *ContainerMonitor) {
	v.dockerHost(m.DockerHost)
	if m.DataRoot != "" && !strings.HasPrefix(m.DataRoot, "/") {
		v.wrong("container_monitor.data_root", "want an absolute path, as in /var/lib/docker, not %q", shorten(m.DataRoot))
	}
	v.patterns("names", m.Include.Names, m.Exclude.Names)
	v.patterns("images", m.Include.Images, m.Exclude.Images)
	v.patterns("labels", m.Include.Labels, m.Exclude.Labels)
}

func (v validator) dockerHost(address string) {
	if address == "" {
		return
	}
	const path = "container_monitor.docker_host"
	schemes := []string{"unix", "tcp", "http", "https"}
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		v.wrong(path, "want an address such as unix:///var/run/docker.sock or tcp://host:2375, not %q", shorten(address))
		return
	}
	if message := notOneOf(scheme, schemes); message != "" {
		v.wrong(path, "the part before :// is not supported: %s", message)
		return
	}
	if scheme == "unix" {
		if !strings.HasPrefix(rest, "/") {
			v.wrong(path, "want unix:// and an absolute path, as in unix:///var/run/docker.sock, not %q", shorten(address))
		}
		return
	}
	if u, err := url.Parse(address); err != nil || u.Hostname() == "" {
		v.wrong(path, "want a host and a port after %s://, as in %s://host:2375", scheme, scheme)
	}
}

// patterns checks the patterns of one list of both filters.
func (v validator) patterns(list string, include, exclude []string) {
	excluded := map[string]bool{}
	for _, pattern := range exclude {
		excluded[pattern] = true
	}
	for i, pattern := range include {
		path := fmt.Sprintf("container_monitor.include.%s[%d]", list, i)
		v.pattern(path, list, pattern)
		if pattern != "" && excluded[pattern] {
			v.wrong(path, "%q is in container_monitor.exclude.%s as well, which wins", shorten(pattern), list)
		}
	}
	for i, pattern := range exclude {
		v.pattern(fmt.Sprintf("container_monitor.exclude.%s[%d]", list, i), list, pattern)
	}
}

func (v validator) pattern(at, list, pattern string) {
	if pattern == "" {
		v.wrong(at, "an empty pattern matches nothing")
		return
	}
	glob := pattern
	if list == "labels" {
		var key string
		if key, glob, _ = strings.Cut(pattern, "="); key == "" {
			v.wrong(at, "want key or key=pattern, not %q", shorten(pattern))
		}
	}
	if _, err := path.Match(glob, ""); err != nil {
		v.wrong(at, "%q is no pattern: want *, ? and pairs of [ and ]", shorten(glob))
	}
}

// listeners checks the sections that open a port.
func (v validator) listeners(c *Config) {
	owners := map[string]string{} // the path of the key that has a port
	for _, l := range []struct {
		section string
		*Listener
	}{{"server", &c.Server}, {"metrics", &c.Metrics}, {"pprof", &c.Pprof}} {
		path := l.section + ".listen"
		_, port, err := net.SplitHostPort(l.Listen)
		if err != nil {
			v.wrong(path, "want host:port, as in 127.0.0.1:8401, not %q", shorten(l.Listen))
			continue
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil {
			v.wrong(path, "want a port from 0 to 65535, not %q", shorten(port))
			continue
		} else if n == 0 || !l.Enabled {
			continue
		}
		if owner, ok := owners[port]; ok {
			v.contradiction([]string{path, owner}, "%s and %s have the same port %s", owner, path, port)
			continue
		}
		owners[port] = path
	}
}
