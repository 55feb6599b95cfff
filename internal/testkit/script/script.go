// Package script describes the exact bytes that a test wants a container to
// write.
//
// It owns the description and its form as a command-line argument. Package
// writer carries it out.
package script

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"log_capturer/internal/record"
)

// Step is one thing to do.
type Step struct {
	// Wait waits until the test lets the script proceed, once for each such
	// step.
	Wait bool `json:"wait,omitempty"`
	// Sleep waits that long.
	Sleep time.Duration `json:"sleep,omitempty"`
	// Stream is where Data is written.
	Stream record.Stream `json:"stream,omitempty"`
	// Data is written Repeat times (once when Repeat is 0), as one write.
	Data   []byte `json:"data,omitempty"`
	Repeat int    `json:"repeat,omitempty"`
}

// Bytes returns everything that the step writes.
func (s Step) Bytes() []byte { return bytes.Repeat(s.Data, max(s.Repeat, 1)) }

// Script is what a writer does, in order. It ends its process after the last
// step.
type Script []Step

// Out returns a step that writes data to stdout.
func Out(data string) Step { return Step{Stream: record.Stdout, Data: []byte(data)} }

// Err returns a step that writes data to stderr.
func Err(data string) Step { return Step{Stream: record.Stderr, Data: []byte(data)} }

// Fill returns a step that writes data n times to a stream, in one write.
func Fill(stream record.Stream, data string, n int) Step {
	return Step{Stream: stream, Data: []byte(data), Repeat: n}
}

// Wait is the step that waits for the test.
var Wait = Step{Wait: true}

// Arg returns the script as the writer's -script argument. Linux takes no
// argument of more than 128 KiB; Fill keeps large ones short.
func (s Script) Arg() string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // no field of a Step can fail
	}
	return string(b)
}

// Bytes returns everything that the script writes to a stream.
func (s Script) Bytes(stream record.Stream) []byte {
	var b []byte
	for _, step := range s {
		if step.Stream == stream {
			b = append(b, step.Bytes()...)
		}
	}
	return b
}

// Parse is the inverse of Arg.
func Parse(arg string) (Script, error) {
	dec := json.NewDecoder(bytes.NewReader([]byte(arg)))
	dec.DisallowUnknownFields()
	var s Script
	if err := dec.Decode(&s); err != nil {
		return nil, fmt.Errorf("parse script: %w", err)
	}
	return s, nil
}
