package selfwatch

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"runtime/pprof"
	"strings"
	"time"
)

// File is a file of a support bundle.
type File struct {
	Name  string
	Write func(w io.Writer) error
}

// ProfileFiles are the runtime's profiles, as files of a bundle. That of leaked
// goroutines is there in builds that have it (GOEXPERIMENT=goroutineleakprofile).
func ProfileFiles() []File {
	profile := func(name, file string, debug int) File {
		return File{file, func(w io.Writer) error { return pprof.Lookup(name).WriteTo(w, debug) }}
	}
	files := []File{
		profile("goroutine", "goroutines.txt", 2),
		profile("goroutine", "goroutines-by-stack.txt", 1),
		profile("heap", "heap.pb.gz", 0),
	}
	if pprof.Lookup("goroutineleak") != nil {
		files = append(files, profile("goroutineleak", "goroutineleak.txt", 1))
	}
	return files
}

// minSecret is the length from which on secrets are looked for in texts: a
// shorter one would be found everywhere.
const minSecret = 4

// WriteBundle writes the files as a compressed archive, in a folder that is named
// after the time. Secrets that are found in a file of text are taken out of it,
// longest first as given. A file that can't be made costs itself only: the
// archive says why.
func WriteBundle(w io.Writer, now time.Time, secrets []string, files []File) error {
	var pairs []string
	for _, secret := range secrets {
		if len(secret) >= minSecret {
			pairs = append(pairs, secret, "<redacted>")
		}
	}
	redact := strings.NewReplacer(pairs...)
	compressed := gzip.NewWriter(w)
	archive := tar.NewWriter(compressed)
	folder := "log_capturer-support-" + now.UTC().Format("20060102T150405Z") + "/"
	for _, file := range files {
		var body bytes.Buffer
		name := file.Name
		if err := file.Write(&body); err != nil {
			name += ".error.txt"
			body.Reset()
			_, _ = fmt.Fprintln(&body, err) // writing to memory does not fail
		}
		content := body.Bytes()
		if !strings.HasSuffix(name, ".pb.gz") {
			content = []byte(redact.Replace(body.String()))
		}
		header := &tar.Header{Typeflag: tar.TypeReg, Name: folder + name, Mode: 0o600, Size: int64(len(content)), ModTime: now}
		if err := archive.WriteHeader(header); err != nil {
			return fmt.Errorf("write support bundle: %w", err)
		}
		if _, err := archive.Write(content); err != nil {
			return fmt.Errorf("write support bundle: %w", err)
		}
	}
	if err := errors.Join(archive.Close(), compressed.Close()); err != nil {
		return fmt.Errorf("write support bundle: %w", err)
	}
	return nil
}
