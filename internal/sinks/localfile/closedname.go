package localfile

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// A closed file is named after its active file, with the UTC time of the
// rotation and a counter before the extension:
//
//	app.log  ->  app-20260102T150405Z-0001.log  ->  app-20260102T150405Z-0001.log.zst
const closedTimeLayout = "20060102T150405Z"

// closedName returns the name for the n-th file closed in the second of at.
func closedName(path string, at time.Time, n int) string {
	ext := extension(path)
	return fmt.Sprintf("%s-%s-%04d%s", strings.TrimSuffix(path, ext), at.UTC().Format(closedTimeLayout), n, ext)
}

// extension returns the extension of the last component of path with its dot,
// empty when it has none but a dot in front.
func extension(path string) string {
	base := filepath.Base(path)
	if i := strings.LastIndexByte(base, '.'); i > 0 {
		return base[i:]
	}
	return ""
}

// looksClosed reports whether a file of this name could be a closed one,
// compressed or half compressed.
func looksClosed(name string) bool {
	for _, ext := range []string{temporaryExtension, Zstd.extension(), Gzip.extension()} {
		name = strings.TrimSuffix(name, ext)
	}
	name = strings.TrimSuffix(name, extension(name))
	stem := strings.TrimRight(name, "0123456789")
	if stem == name || !strings.HasSuffix(stem, "-") {
		return false
	}
	stem = stem[:len(stem)-1]
	if len(stem) <= len(closedTimeLayout) || stem[len(stem)-len(closedTimeLayout)-1] != '-' {
		return false
	}
	_, err := time.Parse(closedTimeLayout, stem[len(stem)-len(closedTimeLayout):])
	return err == nil
}
