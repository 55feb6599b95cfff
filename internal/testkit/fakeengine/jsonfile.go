package fakeengine

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// jsonFile is the file in which an engine with a DataRoot keeps a container's
// log as well, as its driver json-file does: the directory is made with the
// container, the file with its first start, and both go with it.
type jsonFile struct {
	dir, path string
	file      *os.File
}

// makeDirectory makes the container's directory. engine.mu is held.
func (c *Container) makeDirectory() {
	if c.engine.options.DataRoot == "" || c.config.LogDriver != "json-file" {
		return
	}
	dir := filepath.Join(c.engine.options.DataRoot, "containers", c.id)
	c.file = &jsonFile{dir: dir, path: filepath.Join(dir, c.id+"-json.log")}
	c.engine.must(os.MkdirAll(dir, 0o700))
	// What the engine keeps of the container, of which this is a small part.
	about, err := json.Marshal(map[string]any{"ID": c.id, "Name": "/" + c.name, "Config": map[string]any{"Env": c.config.Env, "Labels": labelsOf(c)}})
	c.engine.must(err)
	c.engine.must(os.WriteFile(filepath.Join(dir, "config.v2.json"), about, 0o600))
}

// openFile opens the file for appending. engine.mu is held.
func (c *Container) openFile() {
	if c.file == nil || c.file.file != nil {
		return
	}
	f, err := os.OpenFile(c.file.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	c.engine.must(err)
	c.file.file = f
	c.writeFile(c.entries...)
}

// writeFile writes entries to the file. engine.mu is held.
func (c *Container) writeFile(entries ...Entry) {
	if c.file == nil || c.file.file == nil || len(entries) == 0 {
		return
	}
	var b []byte
	for i := range entries {
		b = append(b, entries[i].JSON()...)
	}
	_, err := c.file.file.Write(b)
	c.engine.must(err)
}

// removeFile removes the container's directory. engine.mu is held.
func (c *Container) removeFile() {
	if c.file == nil {
		return
	}
	c.closeFile()
	c.engine.must(os.RemoveAll(c.file.dir))
}

func (c *Container) closeFile() {
	if c.file != nil && c.file.file != nil {
		c.engine.must(c.file.file.Close())
		c.file.file = nil
	}
}

// RotateFile moves the file as the engine does with that many files kept: what
// the log's readers over the API can still see is not changed.
func (c *Container) RotateFile(files int) {
	c.update(func() {
		c.closeFile()
		path := c.file.path
		if files > 1 {
			for n := files - 1; n > 1; n-- {
				err := os.Rename(path+"."+strconv.Itoa(n-1), path+"."+strconv.Itoa(n))
				if err != nil && !os.IsNotExist(err) {
					c.engine.must(err)
				}
			}
			c.engine.must(os.Rename(path, path+".1"))
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_TRUNC, 0o640)
		c.engine.must(err)
		c.file.file = f
	})
}

// WriteFile appends bytes to the file that are no entry.
func (c *Container) WriteFile(b []byte) {
	c.update(func() {
		_, err := c.file.file.Write(b)
		c.engine.must(err)
	})
}

// LogPath returns the path of the container's json-file, empty without one.
func (c *Container) LogPath() string {
	if c.file == nil {
		return ""
	}
	return c.file.path
}

// JSON returns the entry as a line of a json-file. Bytes that are not UTF-8 are
// lost, as they are with the engine.
func (en *Entry) JSON() []byte {
	var b bytes.Buffer
	text, _ := json.Marshal(string(en.Data)) // a string can't fail
	b.WriteString(`{"log":`)
	b.Write(text)
	b.WriteString(`,"stream":"` + en.Stream.String() + `","time":"`)
	b.WriteString(en.Time.UTC().Format(time.RFC3339Nano))
	b.WriteString("\"}\n")
	return b.Bytes()
}

// must fails the test for an error of the disk.
func (e *Engine) must(err error) {
	if err != nil {
		e.t.Errorf("scripted engine: %v", err)
	}
}
