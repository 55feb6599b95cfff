package deadletter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"log_capturer/internal/record"
)

// Entry is a record that a destination refused for good.
type Entry struct {
	// Time is when it was refused.
	Time time.Time
	// Sink is the name of the sink that it was for.
	Sink string
	// Reason is a short label of bounded variety, Detail what the destination
	// said.
	Reason, Detail string
	// Source, Stream and RecordTime are the record's.
	Source     *record.Source
	Stream     record.Stream
	RecordTime time.Time
	// Ordinal and Flags are the record's too; see record.Record.
	Ordinal uint32
	Flags   record.Flags
	// Line is the record's line. It is valid only during the call that the
	// entry is passed to.
	Line []byte
}

// object is an entry as the file holds it. It has all that is known of the
// record, so that it can be delivered again when what was wrong with it or with
// the destination is put right.
type object struct {
	Time           time.Time         `json:"time"`
	Sink           string            `json:"sink"`
	Reason         string            `json:"reason"`
	Detail         string            `json:"detail,omitempty"`
	Source         string            `json:"source"`
	Host           string            `json:"host,omitempty"`
	FilePath       string            `json:"file_path,omitempty"`
	Namespace      string            `json:"namespace,omitempty"`
	Pod            string            `json:"pod,omitempty"`
	PodUID         string            `json:"pod_uid,omitempty"`
	ContainerID    string            `json:"container_id,omitempty"`
	ContainerName  string            `json:"container_name,omitempty"`
	Image          string            `json:"image,omitempty"`
	ComposeProject string            `json:"compose_project,omitempty"`
	ComposeService string            `json:"compose_service,omitempty"`
	Labels         map[string]string `json:"labels,omitempty"`
	Stream         string            `json:"stream"`
	RecordTime     time.Time         `json:"record_time"`
	Ordinal        uint32            `json:"ordinal,omitempty"`
	Flags          record.Flags      `json:"flags,omitempty"`

	// One of these is set. JSON can hold only valid UTF-8, and would replace
	// what is not; such a line is kept in base64.
	Line       *string `json:"line,omitempty"`
	LineBase64 []byte  `json:"line_base64,omitempty"`
}

func newObject(e Entry) object {
	o := object{
		Time:           e.Time,
		Sink:           e.Sink,
		Reason:         e.Reason,
		Detail:         e.Detail,
		Source:         originalKey(e.Source.Key),
		Host:           e.Source.Host,
		FilePath:       e.Source.FilePath,
		Namespace:      e.Source.Namespace,
		Pod:            e.Source.Pod,
		PodUID:         e.Source.PodUID,
		ContainerID:    e.Source.ContainerID,
		ContainerName:  e.Source.ContainerName,
		Image:          e.Source.Image,
		ComposeProject: e.Source.ComposeProject,
		ComposeService: e.Source.ComposeService,
		Labels:         e.Source.Labels,
		Stream:         e.Stream.String(),
		RecordTime:     e.RecordTime,
		Ordinal:        e.Ordinal,
		Flags:          e.Flags,
	}
	if utf8.Valid(e.Line) {
		line := string(e.Line)
		o.Line = &line
	} else {
		o.LineBase64 = e.Line
	}
	return o
}

// encode returns the lines of the file that hold the entries.
func encode(entries []Entry) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	for _, e := range entries {
		if err := encoder.Encode(newObject(e)); err != nil {
			return nil, fmt.Errorf("encode dead letter: %w", err)
		}
	}
	return b.Bytes(), nil
}

// entry returns the entry that an object holds.
func (o *object) entry() Entry {
	e := Entry{
		Time: o.Time, Sink: o.Sink, Reason: o.Reason, Detail: o.Detail, RecordTime: o.RecordTime,
		Ordinal: o.Ordinal, Flags: o.Flags, Line: o.LineBase64,
		Source: &record.Source{
			Key: o.Source, Host: o.Host, FilePath: o.FilePath, Namespace: o.Namespace, Pod: o.Pod, PodUID: o.PodUID,
			ContainerID: o.ContainerID, ContainerName: o.ContainerName, Image: o.Image,
			ComposeProject: o.ComposeProject, ComposeService: o.ComposeService, Labels: o.Labels,
		},
	}
	if o.Line != nil {
		e.Line = []byte(*o.Line)
	}
	if o.Stream == record.Stderr.String() {
		e.Stream = record.Stderr
	}
	return e
}
