// Package kafkatest has a Kafka cluster for tests: kfake, with faults.
package kafkatest

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/tls"
	"net"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"log_capturer/internal/sinks/sinktest"
)

const (
	// Topic is the topic that there is.
	Topic = "logs.shop"
	// User may have a password, of SetToken.
	User       = "agent"
	partitions = 3
)

// Cluster is kfake as the suite wants a destination: brokers that want a login,
// with connections that can be cut.
type Cluster struct {
	*kfake.Cluster
	// Names are those of the documents, sinktest.PlainNames at first.
	Names sinktest.Names
	t     testing.TB
	tls   *tls.Config
	// Topic is the one whose messages are read.
	Topic string

	mu       sync.Mutex
	conns    map[net.Conn]bool
	requests int
	faulted  int
	fault    func(int) sinktest.Fault
	refuse   func(string) bool
	limit    int
	dropNext bool
	closed   bool
	kept     []sinktest.Line // what a closed cluster held
}

// Start starts a cluster. It wants the login admin with the password admin, or that of
// User.
func Start(t testing.TB, config *tls.Config, brokers int) *Cluster {
	t.Helper()
	c := &Cluster{t: t, tls: config, Topic: Topic, Names: sinktest.PlainNames, conns: map[net.Conn]bool{}}
	options := []kfake.Opt{
		kfake.NumBrokers(brokers), kfake.SeedTopics(partitions, Topic), kfake.EnableSASL(),
		kfake.Superuser("SCRAM-SHA-256", "admin", "admin"), kfake.Superuser("SCRAM-SHA-512", "admin", "admin"), kfake.Superuser("PLAIN", "admin", "admin"),
		kfake.ListenFn(c.listen),
	}
	if config != nil {
		options = append(options, kfake.TLS(config))
	}
	var err error
	if c.Cluster, err = kfake.NewCluster(options...); err != nil {
		t.Fatal(err)
	}
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		res, handled := c.produce(req.(*kmsg.ProduceRequest))
		return res, nil, handled
	})
	return c
}

// listen makes a broker's listener, whose connections are known.
func (c *Cluster) listen(network, address string) (net.Listener, error) {
	l, err := net.Listen(network, address)
	return &listener{l, c}, err
}

type listener struct {
	net.Listener
	cluster *Cluster
}

func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	known := &connection{conn, l.cluster}
	l.cluster.mu.Lock()
	defer l.cluster.mu.Unlock()
	l.cluster.conns[known] = true
	return known, nil
}

type connection struct {
	net.Conn
	cluster *Cluster
}

// Write loses what it is given, when that is the answer to be lost.
func (c *connection) Write(p []byte) (int, error) {
	c.cluster.mu.Lock()
	drop := c.cluster.dropNext
	c.cluster.dropNext = false
	c.cluster.mu.Unlock()
	if drop {
		c.Close()
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

func (c *connection) Close() error {
	c.cluster.mu.Lock()
	delete(c.cluster.conns, c)
	c.cluster.mu.Unlock()
	return c.Conn.Close()
}

// cut closes all connections.
func (c *Cluster) cut() {
	c.mu.Lock()
	var conns []net.Conn
	for conn := range c.conns {
		conns = append(conns, conn)
	}
	c.mu.Unlock()
	for _, conn := range conns {
		conn.Close()
	}
}

// produce decides what becomes of a produce request: it returns an answer, or
// none, and whether that is all.
func (c *Cluster) produce(req *kmsg.ProduceRequest) (res kmsg.Response, handled bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests++
	var fault sinktest.Fault
	if c.fault != nil {
		fault = c.fault(c.faulted)
		c.faulted++
	}
	switch fault.Kind {
	case sinktest.Busy:
		return answer(req, kerr.NotEnoughReplicas.Code), true
	case sinktest.Hang:
		return nil, true
	case sinktest.Lost:
		c.dropNext = true
		return nil, false
	}
	if c.refuse != nil && c.refuses(req) {
		return answer(req, kerr.InvalidRecord.Code), true
	}
	return nil, false
}

// refuses reports whether a batch of the request holds a line that is refused.
func (c *Cluster) refuses(req *kmsg.ProduceRequest) bool {
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			var batch kmsg.RecordBatch
			if err := batch.ReadFrom(p.Records); err != nil {
				c.t.Errorf("a batch that cannot be read: %v", err)
				return false
			}
			rest := batch.Records
			for range batch.NumRecords {
				var r kmsg.Record
				length, n := varint(rest)
				if err := r.ReadFrom(rest[:n+length]); err != nil {
					c.t.Errorf("a record that cannot be read: %v", err)
					return false
				}
				rest = rest[n+length:]
				if line, err := c.Names.Document(r.Value); err != nil || c.refuse(line.Text) {
					return true
				}
			}
		}
	}
	return false
}

// varint reads a zigzag varint, and returns how many bytes it has.
func varint(b []byte) (value, n int) {
	var u uint64
	for shift := 0; ; shift += 7 {
		c := b[n]
		n++
		u |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return int(u>>1) ^ -int(u&1), n
		}
	}
}

// answer answers every partition of a produce request with an error.
func answer(req *kmsg.ProduceRequest, code int16) kmsg.Response {
	res := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, code
			rt.Partitions = append(rt.Partitions, rp)
		}
		res.Topics = append(res.Topics, rt)
	}
	return res
}

// client returns a client of the test's own.
func (c *Cluster) client(opts ...kgo.Opt) *kgo.Client {
	c.t.Helper()
	opts = append(opts, kgo.SeedBrokers(c.ListenAddrs()...), kgo.SASL(scram.Auth{User: "admin", Pass: "admin"}.AsSha256Mechanism()))
	if c.tls != nil {
		opts = append(opts, kgo.DialTLSConfig(&tls.Config{InsecureSkipVerify: true}))
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		c.t.Fatal(err)
	}
	return client
}

// Read returns all messages of the topic, in the order of each partition.
func (c *Cluster) Read() []*kgo.Record {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), sinktest.Patience)
	defer cancel()
	client := c.client(kgo.ConsumeTopics(c.Topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer client.Close()
	ends := kmsg.NewPtrListOffsetsRequest()
	ends.ReplicaID = -1
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = c.Topic
	for p := range int32(partitions) {
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.Timestamp = p, -1
		rt.Partitions = append(rt.Partitions, rp)
	}
	ends.Topics = append(ends.Topics, rt)
	left := int64(0)
	for _, shard := range client.RequestSharded(ctx, ends) {
		if shard.Err != nil {
			c.t.Fatal(shard.Err)
		}
		for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range t.Partitions {
				left += p.Offset
			}
		}
	}
	var records []*kgo.Record
	for int64(len(records)) < left {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			c.t.Fatalf("%d of %d messages could be read: %v", len(records), left, err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

// Lines implements sinktest.Target.
func (c *Cluster) Lines() []sinktest.Line {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return c.kept
	}
	var lines []sinktest.Line
	for _, r := range c.Read() {
		line, err := c.Names.Document(r.Value)
		if err != nil {
			c.t.Error(err)
		}
		lines = append(lines, line)
	}
	return lines
}

// Violations implements sinktest.Target.
func (c *Cluster) Violations() []string { return nil }

// Limit returns the largest request that it takes.
func (c *Cluster) Limit() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.limit
}

// Secured reports whether it speaks TLS.
func (c *Cluster) Secured() bool { return c.tls != nil }

// Requests implements sinktest.Target.
func (c *Cluster) Requests() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests
}

// Connections implements sinktest.Target.
func (c *Cluster) Connections() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.conns)
}

func (c *Cluster) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// SetFault implements sinktest.Target.
func (c *Cluster) SetFault(fault func(int) sinktest.Fault) {
	c.set(func() { c.fault, c.faulted = fault, 0 })
}

// SetRefuse implements sinktest.Target.
func (c *Cluster) SetRefuse(refuse func(string) bool) { c.set(func() { c.refuse = refuse }) }

// SetLimit implements sinktest.Target.
func (c *Cluster) SetLimit(n int) { c.set(func() { c.limit = n }) }

// SetToken implements sinktest.Target: it sets the password of the agent's user. Kafka asks for it when a
// connection is made, so all are cut.
func (c *Cluster) SetToken(token string) {
	c.t.Helper()
	const iterations = 4096
	salt := []byte("some salt")
	salted, err := pbkdf2.Key(sha256.New, token, salt, iterations, sha256.Size)
	if err != nil {
		c.t.Fatal(err)
	}
	req := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	up := kmsg.NewAlterUserSCRAMCredentialsRequestUpsertion()
	up.Name, up.Mechanism, up.Iterations, up.Salt, up.SaltedPassword = User, 1, iterations, salt, salted
	req.Upsertions = append(req.Upsertions, up)
	client := c.client()
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), sinktest.Patience)
	defer cancel()
	res, err := req.RequestWith(ctx, client)
	if err != nil || len(res.Results) != 1 || res.Results[0].ErrorCode != 0 {
		c.t.Fatalf("set the agent's password: %+v, %v", res, err)
	}
	c.cut()
}

// Close implements sinktest.Target.
func (c *Cluster) Close() {
	c.mu.Lock()
	closed := c.closed
	c.closed = true
	c.mu.Unlock()
	if !closed {
		c.Cluster.Close()
	}
}
