// Package deadletter keeps the records that a destination refused for good.
//
// They are appended to one file, an object of JSON a line, with who refused
// them and why. Append returns when they are on disk, so that a cursor may move
// past them. What was torn by a crash is cut off when the file is opened: its
// records were not acknowledged, and come again.
package deadletter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
)

// File is an open dead-letter file. Its methods may be called from several
// goroutines at once.
type File struct {
	mu   sync.Mutex
	file *os.File
	size int64
}

// Open opens the file at path, and makes it if there is none. It cuts off a
// line without an end.
func Open(path string) (*File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open dead letters: %w", err)
	}
	f := &File{file: file}
	if f.size, err = wholeLines(file); err == nil {
		err = file.Truncate(f.size)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("repair dead letters %q: %w", path, err), file.Close())
	}
	return f, nil
}

// wholeLines returns the length of the file up to its last newline.
func wholeLines(file *os.File) (int64, error) {
	end, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	buffer := make([]byte, 64<<10)
	for end > 0 {
		n := min(int64(len(buffer)), end)
		if _, err := file.ReadAt(buffer[:n], end-n); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(buffer[:n], '\n'); i >= 0 {
			return end - n + int64(i) + 1, nil
		}
		end -= n
	}
	return 0, nil
}

// line is an entry as the file holds it.
type line struct {
	Time       time.Time `json:"time"`
	Sink       string    `json:"sink"`
	Reason     string    `json:"reason"`
	Detail     string    `json:"detail,omitempty"`
	Source     string    `json:"source"`
	Container  string    `json:"container_name,omitempty"`
	Stream     string    `json:"stream"`
	RecordTime time.Time `json:"record_time"`
	Line       *string   `json:"line,omitempty"`
	// Base64 holds a line that is not valid UTF-8.
	Base64 []byte `json:"line_base64,omitempty"`
}

// Append writes the entries and returns when they are on disk. On an error none
// of them is in the file.
func (f *File) Append(entries []Entry) error {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	for _, e := range entries {
		l := line{
			Time: e.Time, Sink: e.Sink, Reason: e.Reason, Detail: e.Detail,
			Source: e.Source.Key, Container: e.Source.ContainerName,
			Stream: e.Stream.String(), RecordTime: e.RecordTime,
		}
		if utf8.Valid(e.Line) {
			text := string(e.Line)
			l.Line = &text
		} else {
			l.Base64 = e.Line
		}
		if err := encoder.Encode(l); err != nil {
			return fmt.Errorf("encode dead letter: %w", err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.file.WriteAt(b.Bytes(), f.size)
	if err == nil {
		err = f.file.Sync()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write dead letters %q: %w", f.file.Name(), err), f.file.Truncate(f.size))
	}
	f.size += int64(b.Len())
	return nil
}

// Close closes the file.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.file.Close()
}

var bytesDesc = prometheus.NewDesc("log_capturer_dead_letter_bytes", "Size of the dead-letter file.", nil, nil)

// Describe implements prometheus.Collector.
func (f *File) Describe(ch chan<- *prometheus.Desc) { ch <- bytesDesc }

// Collect implements prometheus.Collector.
func (f *File) Collect(ch chan<- prometheus.Metric) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(bytesDesc, prometheus.GaugeValue, float64(f.size))
}
