// Package kafka delivers records to Apache Kafka, and to whatever else speaks
// its protocol.
//
// It owns the choice of topic and key, the form of a message, and the matching of
// a request's records with the acknowledgements of their messages. The protocol
// itself, with its connections, batches and retries, is franz-go's; retries and
// dead letters of requests are the delivery's.
//
// # Once
//
// The producer is idempotent and waits for all replicas: what the client itself
// sends again, after a lost answer or a lost broker, is there once. An attempt
// that ends before all acknowledgements have come leaves the others on their way;
// the next attempt waits for them, and produces again only what has failed. What
// is in flight when the agent is killed is there twice: the next process is
// another producer.
//
// # What is refused
//
// A record that is larger than a message may be is refused alone. What a broker
// refuses is a batch of the client's making, so the sink refuses the request, and
// the delivery halves it until the record stands alone: the good ones are sent
// again on the way.
package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"log_capturer/internal/delivery"
	"log_capturer/internal/jsondoc"
	"log_capturer/internal/kafkaclient"
	"log_capturer/internal/record"
	"log_capturer/internal/sourcecache"
	"log_capturer/internal/template"
)

// Options configure a Sink.
type Options struct {
	// Client is how brokers are reached.
	Client kafkaclient.Options
	// Topic is the template of the topic.
	Topic string
	// Key says what a message's key is, by which it finds its partition:
	// "container", "stream" or "none".
	Key string
	// Text makes a message of a line as it is; without it, of a document.
	Text bool
	// Documents say what a document looks like.
	Documents jsondoc.Options
	// Compression is "none", "gzip", "snappy", "lz4" or "zstd".
	Compression string
	// MaxMessageBytes is the largest message, and batch of messages before
	// compression, that the brokers take.
	MaxMessageBytes int
	// CreateTopics lets brokers that allow it make a topic that is not there.
	CreateTopics bool
	// Logger is the sink's logger; nil is silent.
	Logger *slog.Logger
}

// Sink delivers to one cluster. It implements delivery.Sink and
// delivery.Starter.
type Sink struct {
	options []kgo.Opt
	trouble *kafkaclient.Trouble
	shape   *jsondoc.Shape // nil for text
	topic   *topic
	key     string
	// createTopics lets a topic be made that is not there.
	createTopics bool
	keys         *sourcecache.Cache[[]byte]
	// ready is closed when client is set, for as long as Run runs.
	ready  chan struct{}
	client *kgo.Client

	mu sync.Mutex
	// attempts are the requests that are not settled, by the number that their
	// bodies hold.
	attempts map[uint64]*attempt
	last     uint64
}

var (
	_ delivery.Sink    = (*Sink)(nil)
	_ delivery.Starter = (*Sink)(nil)
)

// New returns a sink. It checks all options, reads the files that they name,
// and dials nothing: Run makes the client.
func New(o Options) (*Sink, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Client.Logger == nil {
		o.Client.Logger = o.Logger
	}
	if o.Client.RequestTimeout <= 0 {
		o.Client.RequestTimeout = 10 * time.Second
	}
	s := &Sink{key: o.Key, createTopics: o.CreateTopics, ready: make(chan struct{}), attempts: map[uint64]*attempt{}}
	var err error
	if s.options, s.trouble, err = o.Client.Client(); err != nil {
		return nil, err
	}
	if s.topic, err = newTopic(o.Topic); err != nil {
		return nil, err
	}
	switch o.Key {
	case "container", "stream", "none":
	default:
		return nil, fmt.Errorf("key %q is unknown: use container, stream or none", o.Key)
	}
	s.keys = sourcecache.New(s.makeKey)
	if !o.Text {
		if s.shape, err = jsondoc.NewShape(o.Documents); err != nil {
			return nil, err
		}
	}
	codec, ok := codecs[o.Compression]
	if !ok {
		return nil, fmt.Errorf("compression %q is unknown: use none, gzip, snappy, lz4 or zstd", o.Compression)
	}
	if o.MaxMessageBytes <= 0 || o.MaxMessageBytes > 1<<29 {
		return nil, fmt.Errorf("max_message_bytes is %d: use what the brokers' message.max.bytes says", o.MaxMessageBytes)
	}
	s.options = append(s.options,
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(codec),
		kgo.ProducerBatchMaxBytes(int32(o.MaxMessageBytes)),
		kgo.BrokerMaxWriteBytes(1<<30),
		// The delivery's window bounds what is in memory.
		kgo.MaxBufferedRecords(math.MaxInt32),
		kgo.ProducerLinger(0),
		kgo.ProduceRequestTimeout(o.Client.RequestTimeout),
	)
	if o.CreateTopics {
		s.options = append(s.options, kgo.AllowAutoTopicCreation())
	}
	if err := kgo.ValidateOpts(s.options...); err != nil {
		return nil, err
	}
	return s, nil
}

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

// Run makes the client, and closes it when ctx ends, with all that is still on
// its way.
func (s *Sink) Run(ctx context.Context) error {
	client, err := kgo.NewClient(s.options...)
	if err != nil {
		return err
	}
	s.client = client
	close(s.ready)
	<-ctx.Done()
	client.Close()
	return ctx.Err()
}

func (s *Sink) makeKey(src *record.Source, stream record.Stream) []byte {
	id := src.ContainerID
	if id == "" {
		id = src.Key
	}
	switch s.key {
	case "container":
		return []byte(id)
	case "stream":
		return []byte(id + "/" + stream.String())
	}
	return nil
}

// topic writes the name of a record's topic.
type topic struct {
	tmpl *template.Template
	// fixed holds the names of sources, nil when they depend on the time.
	fixed *sourcecache.Cache[string]
}

// maxTopicBytes is the longest name that Kafka takes.
const maxTopicBytes = 249

func newTopic(text string) (*topic, error) {
	tmpl, err := template.Compile(text, nil)
	if err != nil {
		return nil, fmt.Errorf("topic: %w", err)
	}
	sample := tmpl.AppendEscaped(nil, &record.Source{}, 0, 0, func(dst []byte, _ string) []byte { return append(dst, 'x') })
	if len(sample) == 0 {
		return nil, errors.New("topic is empty: write for instance logs")
	}
	for _, c := range sample {
		if !allowed(c) {
			return nil, fmt.Errorf("topic %q has %q, which no topic may have", text, c)
		}
	}
	t := &topic{tmpl: tmpl}
	if !tmpl.UsesTime() {
		t.fixed = sourcecache.New(func(src *record.Source, stream record.Stream) string { return t.render(src, stream, 0) })
	}
	return t, nil
}

// allowed reports whether a topic's name may have c.
func allowed(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
}

func (t *topic) of(src *record.Source, r *record.Record) string {
	if t.fixed != nil {
		return t.fixed.Of(src, r.Stream)
	}
	return t.render(src, r.Stream, r.Time)
}

func (t *topic) render(src *record.Source, stream record.Stream, at int64) string {
	name := t.tmpl.AppendEscaped(nil, src, stream, at, func(dst []byte, value string) []byte {
		if value == "" {
			return append(dst, "none"...)
		}
		for i := range len(value) {
			c := value[i]
			if !allowed(c) {
				c = '_'
			}
			dst = append(dst, c)
		}
		return dst
	})
	return string(name[:min(len(name), maxTopicBytes)])
}
