package container

import (
	"path"
	"slices"
	"strings"

	"log_capturer/internal/pipeline"
)

// Selection chooses containers by glob patterns, in which * matches any run of
// characters, slashes included, and ? matches one.
type Selection struct {
	Names, Images []string
	// Labels are "key" or "key=pattern".
	Labels []string
}

func (s Selection) empty() bool { return len(s.Names)+len(s.Images)+len(s.Labels) == 0 }

func (s Selection) matches(c Info) bool {
	return slices.ContainsFunc(s.Names, func(p string) bool { return glob(p, c.Name) }) ||
		slices.ContainsFunc(s.Images, func(p string) bool { return glob(p, c.Image) }) ||
		slices.ContainsFunc(s.Labels, func(p string) bool {
			key, pattern, hasValue := strings.Cut(p, "=")
			value, ok := c.Labels[key]
			return ok && (!hasValue || glob(pattern, value))
		})
}

// glob reports whether the pattern matches the whole of s. Patterns are checked
// when the configuration is read; a malformed one matches nothing.
func glob(pattern, s string) bool {
	// path.Match keeps * from matching slashes, which image names have.
	const stand = "\x01"
	ok, err := path.Match(strings.ReplaceAll(pattern, "/", stand), strings.ReplaceAll(s, "/", stand))
	return err == nil && ok
}

// Filter says which containers are captured.
type Filter struct {
	// Include selects containers; an empty one selects all.
	Include Selection
	// Exclude takes containers out again.
	Exclude Selection
	// Self is the id of the agent's own container, empty outside of one.
	Self string
}

// SelfLabel marks a container as the agent's own, for when its id can't be
// found out.
const SelfLabel = "log_capturer.self"

// excluded says why a container is not captured, and "" for one that is.
func (f Filter) excluded(c Info) string {
	switch {
	case f.Self != "" && c.ID == f.Self, c.Labels[SelfLabel] == "true":
		return "the agent's own container"
	case f.Exclude.matches(c):
		return "excluded by container_monitor.exclude"
	case !f.Include.empty() && !f.Include.matches(c):
		return "not in container_monitor.include"
	}
	switch enabled, by := pipeline.Enabled(c.Labels); {
	case !enabled:
		return "turned off by its label " + by
	case by == "" && c.Ignored:
		return "turned off by LOGSPOUT=ignore in its environment"
	}
	return ""
}
