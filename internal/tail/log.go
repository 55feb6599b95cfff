package tail

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Log names a log.
type Log struct {
	// Path is the live file, which is written to. It may be a symbolic link.
	Path string
	// Rotated lists the files that the log was rotated to, oldest first. It may
	// name the plain and the compressed form of one file, of which the plain one
	// is taken; names that end in .gz are read through gzip. Nil means that
	// nothing is kept.
	Rotated func() ([]string, error)
}

// Numbered returns a Log.Rotated for files that are named path.1, path.2 and so
// on, the highest being the oldest, each with or without .gz: what dockerd makes
// of json-files.
func Numbered(path string) func() ([]string, error) {
	return func() ([]string, error) {
		dir, base := filepath.Split(path)
		names, err := namesIn(filepath.Clean(dir))
		if err != nil {
			return nil, err
		}
		type numbered struct {
			name string
			n    int
		}
		var found []numbered
		for _, name := range names {
			suffix, ok := strings.CutPrefix(name, base+".")
			if !ok {
				continue
			}
			if n, err := strconv.Atoi(strings.TrimSuffix(suffix, ".gz")); err == nil && n > 0 {
				found = append(found, numbered{name, n})
			}
		}
		slices.SortFunc(found, func(a, b numbered) int { return b.n - a.n })
		paths := make([]string, len(found))
		for i, f := range found {
			paths[i] = filepath.Join(dir, f.name)
		}
		return paths, nil
	}
}

// namesIn returns the names in a directory, none when there is no such one.
func namesIn(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	return f.Readdirnames(-1)
}

// IsRotation reports whether a file of this name is what a file called base was
// rotated to: base and a number or a date and time in any writing, or a date
// between base's name and its extension, and perhaps .gz.
//
//	app.log.1  app.log.2.gz  app.log-20240131  app.log.2024-01-31_23
//	app-2024-01-31T23-59-59.000.log.gz
func IsRotation(base, name string) bool {
	_, ok := rotation(base, name)
	return ok
}

// rotation returns the number or date in a rotated file's name.
func rotation(base, name string) (string, bool) {
	name = trimZip(name)
	if middle, ok := strings.CutPrefix(name, base); ok && isStamp(middle, 1) {
		return middle, true
	}
	ext := extension(base)
	stem := strings.TrimSuffix(base, ext)
	if ext == "" || stem == "" {
		return "", false
	}
	middle, ok := strings.CutPrefix(name, stem)
	if !ok {
		return "", false
	}
	middle, ok = strings.CutSuffix(middle, ext)
	return middle, ok && isStamp(middle, dateDigits)
}

func trimZip(name string) string { return strings.TrimSuffix(name, ".gz") }

func extension(name string) string { return filepath.Ext(name) }

// dateDigits are the fewest digits of a date. app-1.log beside app.log is more
// likely the log of a second process than what app.log was rotated to.
const dateDigits = 6

// isStamp reports whether s is a separator, and at least so many digits with
// what dates have between them.
func isStamp(s string, least int) bool {
	if len(s) < 2 || strings.IndexByte(".-_", s[0]) < 0 {
		return false
	}
	digits := 0
	for _, c := range []byte(s) {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case strings.IndexByte(".-_:+TZ", c) < 0:
			return false
		}
	}
	return digits >= least
}
