package pipeline

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	pathglob "log_capturer/internal/glob"
	"log_capturer/internal/record"
)

// Selection chooses the sources that go through a pipeline: those that match
// any pattern of any list. In a pattern of anything but files, * stands for any text, ? for any one
// character and [a-z] for one of these.
type Selection struct {
	// Patterns of container names, without a leading slash.
	Names []string `yaml:"names"`
	// Patterns of image references, as `docker ps` shows them.
	Images []string `yaml:"images"`
	// Labels: `key` for a label with any value, `key=pattern` for certain values.
	Labels []string `yaml:"labels"`
	// Patterns of Compose services, as in `web` or `shop/web` with the project.
	Services []string `yaml:"services"`
	// Patterns of the paths of files that are read as such, as in
	// `file_monitor`: `*` stands for text within one part of a path, `**` for any
	// number of directories. One without a slash is about the file's name.
	Files []string `yaml:"files"`
}

// Matches reports whether a source is among those chosen.
func (s *Selection) Matches(src *record.Source) bool {
	service := src.ComposeService
	return slices.ContainsFunc(s.Names, func(p string) bool { return src.ContainerName != "" && glob(p, src.ContainerName) }) ||
		slices.ContainsFunc(s.Images, func(p string) bool { return src.Image != "" && glob(p, src.Image) }) ||
		slices.ContainsFunc(s.Labels, func(p string) bool {
			key, pattern, hasValue := strings.Cut(p, "=")
			value, ok := src.Labels[key]
			return ok && (!hasValue || glob(pattern, value))
		}) ||
		slices.ContainsFunc(s.Services, func(p string) bool {
			return service != "" && (glob(p, service) || glob(p, src.ComposeProject+"/"+service))
		}) ||
		slices.ContainsFunc(s.Files, func(p string) bool { return src.FilePath != "" && matchesPath(p, src.FilePath) })
}

// matchesPath reports whether a file is one of a pattern's.
func matchesPath(pattern, path string) bool {
	p, err := compilePath(pattern)
	if err != nil {
		return false
	}
	_, ok := p.Match(path)
	return ok
}

// compilePath returns the pattern of a path, or of a name.
func compilePath(text string) (*pathglob.Pattern, error) {
	if strings.Contains(text, "/") {
		return pathglob.Compile(text)
	}
	return pathglob.CompileExclude(text)
}

// check finds what is wrong with the patterns.
func (s *Selection) check() error {
	var errs []error
	for _, list := range []struct {
		key      string
		patterns []string
	}{{"names", s.Names}, {"images", s.Images}, {"labels", s.Labels}, {"services", s.Services}, {"files", s.Files}} {
		for i, p := range list.patterns {
			at, text := fmt.Sprintf("select.%s[%d]", list.key, i), p
			if list.key == "labels" {
				var name string
				if name, text, _ = strings.Cut(p, "="); name == "" {
					errs = append(errs, wrong(at, "want key or key=pattern, not %q", shorten(p)))
					continue
				}
			}
			if list.key == "files" && p != "" {
				if _, err := compilePath(text); err != nil {
					errs = append(errs, wrong(at, "%s", err))
				}
				continue
			}
			if _, err := path.Match(text, ""); err != nil {
				errs = append(errs, wrong(at, "%q is no pattern: want *, ? and pairs of [ and ]", shorten(text)))
			} else if p == "" {
				errs = append(errs, wrong(at, "an empty pattern matches nothing"))
			}
		}
	}
	return errors.Join(errs...)
}

// glob reports whether the pattern matches the whole of s. Here * matches
// slashes as well, which image names have.
func glob(pattern, s string) bool {
	const stand = "\x01"
	ok, err := path.Match(strings.ReplaceAll(pattern, "/", stand), strings.ReplaceAll(s, "/", stand))
	return err == nil && ok
}
