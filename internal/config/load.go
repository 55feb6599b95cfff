package config

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
)

// Load reads the configuration of a YAML file, as Parse does.
func Load(path string, env func(string) (string, bool)) (*Config, error) {
	data, err := readFile(path, maxFileBytes)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return Parse(path, data, env)
}

// Parse returns the configuration of a YAML document: the defaults, and on top
// of them what the document says. The name stands for the document in errors.
// Variables are looked up with env, as os.LookupEnv would. Files that hold
// secrets are read. A relative path, here and everywhere in a configuration, is
// relative to the working directory.
//
// The error is of type Errors and holds everything that is wrong.
func Parse(name string, data []byte, env func(string) (string, bool)) (*Config, error) {
	read := func(path string) ([]byte, error) { return readFile(path, maxSecretBytes) }
	return parse(name, data, env, read)
}

// parse is Parse with the files of secrets and certificates read by read.
func parse(name string, data []byte, env func(string) (string, bool),
	read func(path string) ([]byte, error)) (*Config, error) {
	var files map[string]digest
	d := &decoder{
		file: name, env: env, read: func(path string) ([]byte, error) {
			data, err := read(path)
			if files == nil {
				files = map[string]digest{}
			}
			files[path] = sha256.Sum256(data)
			return data, err
		},
		set: map[string]position{}, failed: map[string]bool{},
	}
	root := parseSyntax(data, func(pos position, message string) { d.fail(pos, "", "%s", message) })
	cfg := Default()
	if root != nil {
		d.decode(root, reflect.ValueOf(cfg).Elem(), "", "")
		v := validator{decoder: d}
		v.config(cfg)
	}
	if len(d.errs) > 0 {
		d.errs.sort()
		return nil, d.errs
	}
	cfg.files = files
	return cfg, nil
}

// maxSecretBytes is the size of the largest file that a secret or a certificate
// may be in.
const maxSecretBytes = 1 << 20

// readFile returns the content of a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is longer than %s", path, ByteSize(limit))
	}
	return data, nil
}
