package httpclient

import (
	"fmt"
	"os"
	"strings"
	"sync"
)

// version tells one content of a file from another without reading it: a file
// that is written again, and one that another was moved or linked over, have
// another version.
type version struct{ info os.FileInfo }

func versionOf(path string) (version, error) {
	info, err := os.Stat(path)
	return version{info}, err
}

func (v version) equal(w version) bool {
	if v.info == nil || w.info == nil {
		return v.info == w.info
	}
	return os.SameFile(v.info, w.info) && v.info.ModTime().Equal(w.info.ModTime()) && v.info.Size() == w.info.Size()
}

// SecretFile returns a function that reads the secret in a file, again when the
// file changes. It may be called from any number of goroutines.
func SecretFile(path string) func() (string, error) { return (&secretFile{path: path}).read }

// secretFile is a file that holds one secret, which is read again when the file
// changes.
type secretFile struct {
	path string

	mu      sync.Mutex
	version version
	secret  string
}

// read returns the secret, without the white space around it.
func (f *secretFile) read() (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	// The version is taken before the content, so that a change in between is
	// seen by the next call.
	v, err := versionOf(f.path)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	if f.secret != "" && v.equal(f.version) {
		return f.secret, nil
	}
	content, err := os.ReadFile(f.path)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	secret := strings.TrimSpace(string(content))
	if secret == "" {
		return "", fmt.Errorf("read secret: %q is empty", f.path)
	}
	if !validHeaderValue(secret) {
		return "", fmt.Errorf("read secret: %q holds more than one line, or control characters", f.path)
	}
	f.secret, f.version = secret, v
	return secret, nil
}
