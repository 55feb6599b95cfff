package kafka

import (
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"log_capturer/internal/jsondoc"
	"log_capturer/internal/record"
)

// Messages say how a message becomes a record.
type Messages struct {
	// Text takes a message's value for the line; without it, the value is a
	// document as the Kafka sink writes them, and one that is none is a line.
	Text bool
	// Time and Line are the names of the time and the line in a document. The
	// others are those of jsondoc.DefaultFields.
	Time, Line string
}

// message is what a record is made of.
type message struct {
	source *record.Source
	stream record.Stream
	time   int64
	flags  record.Flags
	line   []byte
}

// origin is what tells one container's messages in a partition from another's.
type origin struct {
	key, id, name, image, project, service, host, path string
}

// sources makes the sources of messages, and keeps those in use. It belongs to
// one goroutine.
type sources struct {
	Messages

	known map[origin]*record.Source
}

// maxSources bounds the sources that are kept.
const maxSources = 4096

func newSources(m Messages) *sources { return &sources{m, map[origin]*record.Source{}} }

func (s *sources) of(o origin) *record.Source {
	if src := s.known[o]; src != nil {
		return src
	}
	if len(s.known) >= maxSources {
		clear(s.known)
	}
	src := &record.Source{
		Key: o.key, Host: o.host, ContainerID: o.id, ContainerName: o.name, Image: o.image,
		ComposeProject: o.project, ComposeService: o.service, FilePath: o.path,
	}
	s.known[o] = src
	return src
}

// document is a document as far as a record needs it.
type document map[string]any

func (d document) text(name string) string {
	text, _ := d[name].(string)
	return text
}

// parse returns what a message holds. Nothing of it is lost: a value that cannot
// be read as a document is a line.
func (s *sources) parse(key string, r *kgo.Record) message {
	if !s.Text {
		if m, ok := s.document(key, r); ok {
			return m
		}
	}
	return message{
		source: s.of(origin{key: key, name: r.Topic, id: string(r.Key)}), time: r.Timestamp.UnixNano(), line: r.Value,
	}
}

func (s *sources) document(key string, r *kgo.Record) (message, bool) {
	var d document
	if json.Unmarshal(r.Value, &d) != nil {
		return message{}, false
	}
	text, ok := d[s.Line].(string)
	if !ok {
		return message{}, false
	}
	m := message{time: r.Timestamp.UnixNano(), line: []byte(text)}
	if encoded := d.text(s.Line + jsondoc.Base64Suffix); encoded != "" {
		exact, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return message{}, false
		}
		m.line = exact
	}
	if at, err := time.Parse(time.RFC3339Nano, d.text(s.Time)); err == nil {
		m.time = at.UnixNano()
	}
	if d.text("stream") == record.Stderr.String() {
		m.stream = record.Stderr
	}
	for name, flag := range map[string]record.Flags{"cut": record.Cut, "continued": record.Continued, "unterminated": record.Unterminated} {
		if set, _ := d[name].(bool); set {
			m.flags |= flag
		}
	}
	m.source = s.of(origin{
		key: key, id: d.text("container_id"), name: d.text("container_name"), image: d.text("image"),
		project: d.text("compose_project"), service: d.text("compose_service"), host: d.text("host"), path: d.text("file_path"),
	})
	return m, true
}

// timeRun counts the records of one source's stream that share a time.
type timeRun struct {
	source *record.Source
	time   int64
	count  uint32
}

func (t *timeRun) ordinal(source *record.Source, at int64) uint32 {
	if t.source != source || t.time != at {
		*t = timeRun{source: source, time: at}
	}
	t.count++
	return t.count
}

// commitError returns the first error of a commit.
func commitError(res *kmsg.OffsetCommitResponse) error {
	for _, t := range res.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}
