// Package writerimage puts the test writer into an engine as an image.
//
// It owns the building of the static program and of the image that holds it and
// nothing else. Nothing is pulled.
package writerimage

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/moby/moby/client"
)

const (
	// Name is the image's name.
	Name = "logcapturer-testwriter:latest"

	// hashLabel holds the hash of the program in the image.
	hashLabel = "log_capturer.testwriter.sha256"
)

// writerBinary is the static writer program, built once in a process.
var writerBinary = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "testwriter")
	if err != nil {
		return nil, fmt.Errorf("build test writer: %w", err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "writer")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path,
		"log_capturer/internal/testkit/writer")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build test writer: %w\n%s", err, out)
	}
	return os.ReadFile(path)
})

// Ensure builds the writer and loads it into the engine, unless the engine has
// the very same already. The working directory must be within the module.
func Ensure(ctx context.Context, cli *client.Client) error {
	program, err := writerBinary()
	if err != nil {
		return err
	}
	sum := sha256.Sum256(program)
	hash := hex.EncodeToString(sum[:])

	unlock, err := lockImage()
	if err != nil {
		return err
	}
	defer unlock()
	found, err := cli.ImageInspect(ctx, Name)
	if err == nil && found.Config != nil && found.Config.Labels[hashLabel] == hash {
		return nil
	}
	return importImage(ctx, cli, program, hash)
}

// lockImage keeps test processes that run at once from loading the image twice.
func lockImage() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(os.TempDir(), "logcapturer-testwriter.lock"), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return nil, fmt.Errorf("lock test image: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock test image: %w", err)
	}
	return func() { f.Close() }, nil
}

// importImage makes an image that holds the program and nothing else.
func importImage(ctx context.Context, cli *client.Client, program []byte, hash string) error {
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "writer", Mode: 0o755, Size: int64(len(program))})
	if err == nil {
		_, err = w.Write(program)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("pack test image: %w", err)
	}
	result, err := cli.ImageImport(ctx, client.ImageImportSource{Source: &layer, SourceName: "-"}, Name,
		client.ImageImportOptions{Changes: []string{
			`ENTRYPOINT ["/writer"]`,
			"LABEL " + hashLabel + "=" + hash,
		}})
	if err != nil {
		return fmt.Errorf("import test image: %w", err)
	}
	defer result.Close()
	// The engine answers with JSON messages, and tells of errors in them.
	for dec := json.NewDecoder(result); ; {
		var message struct {
			Error string `json:"error"`
		}
		switch err := dec.Decode(&message); {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("import test image: %w", err)
		case message.Error != "":
			return fmt.Errorf("import test image: %s", message.Error)
		}
	}
}
