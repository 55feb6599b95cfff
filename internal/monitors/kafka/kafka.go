// Package kafka reads records from Kafka, so that agents on many hosts can feed a
// pool of aggregators, which is as large as the topics have partitions.
//
// It owns the reading as a member of a consumer group, the making of records from
// messages, and the moving of the group's offsets. The protocol is franz-go's.
// Where records go, and when they are safe there, is behind the dispatcher.
//
// # Custody
//
// The group's offset of a partition moves past a message only when every sink has
// custody of its record. A member that loses a partition waits a moment for that,
// so that the next one begins where it stopped. What is still undelivered then,
// or when a member is killed, is read again by another: it may be delivered twice,
// and is never lost.
//
// # Positions
//
// A partition is a source. Its cursors count in offsets: the anchor of a stream
// has as Seq the offset behind the stream's last record, and as AsOf the one up to
// which that was all of it. A batch is a run of messages of one stream, without a
// gap between their offsets. A source's key holds the topic's id, so that a topic
// that was deleted and made again is another source.
package kafka

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"log_capturer/internal/health"
	"log_capturer/internal/kafkaclient"
	"log_capturer/internal/record"
)

// Dispatcher takes batches to the sinks.
type Dispatcher interface {
	// Accept takes over b; it blocks while there is no room for it.
	Accept(ctx context.Context, b *record.Batch) error
	// Resume returns where the sinks stand in a source, setting those that do
	// not know it yet to start.
	Resume(source string, start record.Cursor) ([]record.Cursor, error)
}

// Options say how a Monitor works. Client, Topics, Group and Dispatcher are
// required.
type Options struct {
	// Client is how brokers are reached.
	Client kafkaclient.Options
	// Topics are read by the consumer group Group.
	Topics []string
	Group  string
	// StartAtEnd begins a partition that the group has no offset of at its end,
	// and not at its beginning.
	StartAtEnd bool
	// Messages say how messages become records.
	Messages Messages
	// CommitInterval is the time between two commits of offsets, 1 s when zero.
	CommitInterval time.Duration
	// CustodyWait is how long the monitor waits for the custody of what it has
	// read before it lets go of partitions, 5 s when zero.
	CustodyWait time.Duration
	Dispatcher  Dispatcher
	// Logger is the monitor's logger; nil is silent.
	Logger *slog.Logger
}

// maxBatchBytes bounds the lines of a batch.
const maxBatchBytes = 256 << 10

// maxPoll bounds the messages that are taken from the client at once.
const maxPoll = 1000

// Monitor reads topics. It implements health.Reporter and
// prometheus.Collector.
type Monitor struct {
	opts    Options
	options []kgo.Opt
	trouble *kafkaclient.Trouble
	stats   stats
	sources *sources
	// partitions are those that were read from since they were assigned. They
	// belong to the goroutine that polls, or to the client's callbacks while
	// polling waits for them.
	partitions map[partition]*reading
	assigned   atomic.Int64
}

// partition names one.
type partition struct {
	topic  string
	number int32
}

// reading is where the reading of a partition stands.
type reading struct {
	key string
	// next is the offset of the next message.
	next int64
	// read has, for each stream, the offset behind its last record that was
	// accepted.
	read [record.NumStreams]uint64
	// begin is the offset at which reading began.
	begin uint64
	// committed is the offset that the group has.
	committed int64
	runs      [record.NumStreams]timeRun
}

// New returns a monitor. It checks all options, reads the files that they name,
// and dials nothing.
func New(o Options) (*Monitor, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Client.Logger == nil {
		o.Client.Logger = o.Logger
	}
	if len(o.Topics) == 0 || o.Group == "" {
		return nil, errors.New("topics and group are both needed")
	}
	if o.CommitInterval <= 0 {
		o.CommitInterval = time.Second
	}
	if o.CustodyWait <= 0 {
		o.CustodyWait = 5 * time.Second
	}
	m := &Monitor{opts: o, sources: newSources(o.Messages), partitions: map[partition]*reading{}, stats: newStats()}
	var err error
	if m.options, m.trouble, err = o.Client.Client(); err != nil {
		return nil, err
	}
	start := kgo.NewOffset().AtStart()
	if o.StartAtEnd {
		start = kgo.NewOffset().AtEnd()
	}
	m.options = append(m.options,
		kgo.ConsumeTopics(o.Topics...),
		kgo.ConsumerGroup(o.Group),
		kgo.ConsumeResetOffset(start),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(m.onAssigned),
		kgo.OnPartitionsRevoked(m.onRevoked),
		kgo.OnPartitionsLost(m.onLost),
	)
	return m, kgo.ValidateOpts(m.options...)
}

// Run reads until ctx is done.
func (m *Monitor) Run(ctx context.Context) error {
	client, err := kgo.NewClient(m.options...)
	if err != nil {
		return err
	}
	// Closing leaves the group, which revokes what is left: that waits for the
	// custody of what was read.
	defer client.CloseAllowingRebalance()
	for ctx.Err() == nil {
		m.poll(ctx, client)
		m.commit(ctx, client, nil)
		client.AllowRebalance()
	}
	return ctx.Err()
}

// poll takes what has come within the commit interval to the dispatcher.
func (m *Monitor) poll(ctx context.Context, client *kgo.Client) {
	waiting, cancel := context.WithTimeout(ctx, m.opts.CommitInterval)
	defer cancel()
	fetches := client.PollRecords(waiting, maxPoll)
	for i := range fetches {
		for j := range fetches[i].Topics {
			t := &fetches[i].Topics[j]
			for k := range t.Partitions {
				p := &t.Partitions[k]
				if p.Err != nil && !errors.Is(p.Err, context.DeadlineExceeded) && !errors.Is(p.Err, context.Canceled) {
					m.stats.errors.Inc()
					m.opts.Logger.Warn("fetch_failed", "topic", t.Topic, "partition", p.Partition, "error", p.Err)
				}
				if len(p.Records) == 0 {
					continue
				}
				m.trouble.Clear()
				if err := m.take(ctx, partition{t.Topic, p.Partition}, t.TopicID, p); err != nil {
					if ctx.Err() == nil {
						m.opts.Logger.Error("partition_failed", "topic", t.Topic, "partition", p.Partition, "error", err)
					}
					m.rewind(client, fetches)
					return
				}
			}
		}
	}
}

// rewind makes the client read again what was polled and not accepted.
func (m *Monitor) rewind(client *kgo.Client, fetches kgo.Fetches) {
	offsets := map[string]map[int32]kgo.EpochOffset{}
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if len(p.Records) == 0 {
			return
		}
		at := p.Records[0].Offset
		if r := m.partitions[partition{p.Topic, p.Partition}]; r != nil {
			at = max(at, r.next)
		}
		if offsets[p.Topic] == nil {
			offsets[p.Topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[p.Topic][p.Partition] = kgo.EpochOffset{Epoch: -1, Offset: at}
	})
	client.SetOffsets(offsets)
}

// take makes batches of the messages of a partition and has them accepted.
func (m *Monitor) take(ctx context.Context, at partition, topicID [16]byte, p *kgo.FetchPartition) error {
	r := m.partitions[at]
	if r == nil {
		var err error
		if r, err = m.begin(at, topicID, p.Records[0].Offset); err != nil {
			return err
		}
		m.partitions[at] = r
	}
	for i := 0; i < len(p.Records); {
		b, n := m.batch(r, p.Records[i:])
		stream := b.Records[0].Stream
		last := p.Records[i+n-1].Offset + 1
		bytes := b.LineBytes()
		if err := m.opts.Dispatcher.Accept(ctx, b); err != nil {
			return err
		}
		r.next, r.read[stream] = last, uint64(last)
		m.stats.records.Add(float64(n))
		m.stats.bytes.Add(float64(bytes))
		i += n
	}
	return nil
}

// begin returns the reading of a partition from an offset.
func (m *Monitor) begin(at partition, topicID [16]byte, offset int64) (*reading, error) {
	r := &reading{
		key:  fmt.Sprintf("kafka/%s-%s/%d", at.topic, hex.EncodeToString(topicID[:]), at.number),
		next: offset, begin: uint64(offset), committed: offset,
	}
	var start record.Cursor
	for s := range start.Streams {
		r.read[s] = r.begin
		start.Streams[s].Seq, start.Streams[s].AsOf = r.begin, r.begin
	}
	_, err := m.opts.Dispatcher.Resume(r.key, start)
	return r, err
}

// batch makes a batch of the first messages, as many as one batch can hold, and
// returns how many these are.
func (m *Monitor) batch(r *reading, messages []*kgo.Record) (*record.Batch, int) {
	first := m.sources.parse(r.key, messages[0])
	stream := first.stream
	b := record.NewBatch(first.source, len(first.line))
	offset := uint64(messages[0].Offset)
	b.From = r.cursor(offset)
	b.From.Streams[stream].Seq = offset
	n := 0
	for next := first; ; {
		rec := record.Record{Time: next.time, Ordinal: r.runs[stream].ordinal(next.source, next.time), Stream: stream, Flags: next.flags}
		b.Append(rec, next.line)
		if n++; n == len(messages) || messages[n].Offset != messages[n-1].Offset+1 || b.LineBytes() >= maxBatchBytes {
			break
		}
		next = m.sources.parse(r.key, messages[n])
		if next.source != first.source || next.stream != stream {
			break
		}
	}
	end := offset + uint64(n)
	last := &b.Records[n-1]
	b.To = r.cursor(end)
	b.To.Streams[stream] = record.Anchor{
		Seq: end, AsOf: end, Last: true, Time: last.Time, Count: last.Ordinal, Hash: record.LineHash(b.Line(last)),
	}
	return b, n
}

// cursor returns the cursor at an offset up to which all was read.
func (r *reading) cursor(offset uint64) record.Cursor {
	var c record.Cursor
	for s := range c.Streams {
		c.Streams[s].Seq, c.Streams[s].AsOf = r.read[s], offset
	}
	return c
}

// Health reports whether the brokers answer.
func (m *Monitor) Health() []health.Component {
	c := health.Component{Name: "kafka_source"}
	if err := m.trouble.Last(); err != nil {
		c.Status, c.Reason = health.Degraded, "the brokers do not answer as they should: "+err.Error()
	}
	return []health.Component{c}
}
