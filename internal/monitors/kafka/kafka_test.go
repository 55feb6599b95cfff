package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"log_capturer/internal/deadletter"
	"log_capturer/internal/delivery"
	"log_capturer/internal/delivery/deliverytest"
	"log_capturer/internal/dispatcher"
	"log_capturer/internal/jsondoc"
	"log_capturer/internal/kafkaclient"
	"log_capturer/internal/record"
	"log_capturer/internal/record/recordtest"
	sink "log_capturer/internal/sinks/kafka"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	topic      = "logs"
	group      = "aggregators"
	partitions = 4
	patience   = 60 * time.Second
)

func startCluster(t testing.TB) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.SeedTopics(partitions, topic))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func reach(c *kfake.Cluster) kafkaclient.Options {
	return kafkaclient.Options{Brokers: c.ListenAddrs(), RequestTimeout: time.Second, LookInterval: 20 * time.Millisecond}
}

// produce writes logs by the agent's own sink.
func produce(t *testing.T, c *kfake.Cluster, logs ...*recordtest.Log) {
	t.Helper()
	s, err := sink.New(sink.Options{
		Client: reach(c), Topic: topic, Key: "container", Compression: "none", MaxMessageBytes: 1 << 20,
		Documents: jsondoc.Options{Time: "time", Line: "line", ID: "record_id", Fields: jsondoc.DefaultFields()},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		<-done
	}()
	for _, log := range logs {
		reader := log.Read()
		for b := reader.Next(100); b != nil; b = reader.Next(100) {
			if err := s.Send(t.Context(), &delivery.Request{Parts: []delivery.Part{{Batch: b, To: len(b.Records), Streams: record.AllStreams}}}); err != nil {
				t.Fatal(err)
			}
			b.Release()
		}
	}
}

func newLogs(prefix string, containers, perContainer int) []*recordtest.Log {
	var logs []*recordtest.Log
	for i := range containers {
		name := fmt.Sprintf("%s%d", prefix, i)
		log := recordtest.NewLog("container/" + name)
		log.Source = &record.Source{Key: "container/" + name, ContainerID: name, ContainerName: name, Image: "i", Host: "h-" + name}
		for n := range perContainer {
			text := fmt.Sprintf("%s line %d", name, n)
			if n%10 == 3 {
				text += " \xff\x00\"é"
			}
			log.Write(record.Stream(n/2%record.NumStreams), 1_700_000_000_000_000_001+int64(n/3), text)
		}
		logs = append(logs, log)
	}
	return logs
}

// taken is a record as a destination of a member got it.
type taken struct {
	container, host string
	stream          record.Stream
	time            int64
	line            string
}

// member is an aggregator: a monitor with a dispatcher, a delivery, and a
// destination.
type member struct {
	t       *testing.T
	monitor *Monitor
	deliver *delivery.Delivery
	journal *deliverytest.Journal
	stop    func()

	mu    sync.Mutex
	taken []taken
	stuck chan struct{} // attempts wait until it is closed
}

// Send implements delivery.Sink.
func (a *member) Send(ctx context.Context, req *delivery.Request) error {
	select {
	case <-a.stuck:
	case <-ctx.Done():
		return ctx.Err()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for b, r := range req.All() {
		a.taken = append(a.taken, taken{b.Source.ContainerName, b.Source.Host, r.Stream, r.Time, string(b.Line(r))})
	}
	return nil
}

func (a *member) all() []taken {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.taken)
}

func open() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func startMember(t *testing.T, c *kfake.Cluster, journal *deliverytest.Journal, stuck chan struct{}, wait time.Duration) *member {
	t.Helper()
	dead, err := deadletter.Open(filepath.Join(t.TempDir(), "dead-letters.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	a := &member{t: t, journal: journal, stuck: stuck}
	a.deliver = delivery.New(delivery.Options{
		Name: "tested", Sink: a, Journal: journal, DeadLetters: dead,
		WindowBytes: 4 << 20, Concurrency: 2, BatchBytes: 64 << 10, BatchRecords: 50,
		Timeout: patience, MinBackoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	a.monitor, err = New(Options{
		Client: reach(c), Topics: []string{topic}, Group: group, Messages: Messages{Time: "time", Line: "line"},
		CommitInterval: 20 * time.Millisecond, CustodyWait: wait, Dispatcher: dispatcher.New([]*delivery.Delivery{a.deliver}),
	})
	if err != nil {
		t.Fatal(err)
	}
	// The monitor ends first, then the delivery: as the app has it.
	reading, endReading := context.WithCancel(context.Background())
	delivering, endDelivering := context.WithCancel(context.Background())
	read, delivered := make(chan error, 1), make(chan error, 1)
	go func() { delivered <- a.deliver.Run(delivering) }()
	go func() { read <- a.monitor.Run(reading) }()
	stopped := false
	a.stop = func() {
		if stopped {
			return
		}
		stopped = true
		endReading()
		if err := <-read; !errors.Is(err, context.Canceled) {
			t.Errorf("monitor: %v", err)
		}
		endDelivering()
		if err := <-delivered; err != nil {
			t.Errorf("delivery: %v", err)
		}
		dead.Close()
	}
	t.Cleanup(a.stop)
	return a
}

// committed returns the group's offsets, and the sum of the partitions' ends.
func committed(t testing.TB, c *kfake.Cluster) (sum, ends int64) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	fetch := kmsg.NewPtrOffsetFetchRequest()
	rg := kmsg.NewOffsetFetchRequestGroup()
	rg.Group = group
	fetch.Groups, fetch.Group = append(fetch.Groups, rg), group
	res, err := fetch.RequestWith(ctx, client)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range res.Groups {
		for _, rt := range g.Topics {
			for _, p := range rt.Partitions {
				sum += max(0, p.Offset)
			}
		}
	}
	list := kmsg.NewPtrListOffsetsRequest()
	list.ReplicaID = -1
	lt := kmsg.NewListOffsetsRequestTopic()
	lt.Topic = topic
	for n := range int32(partitions) {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = n, -1
		lt.Partitions = append(lt.Partitions, p)
	}
	list.Topics = append(list.Topics, lt)
	for _, shard := range client.RequestSharded(ctx, list) {
		if shard.Err != nil {
			t.Fatal(shard.Err)
		}
		for _, rt := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range rt.Partitions {
				ends += p.Offset
			}
		}
	}
	return sum, ends
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// check compares what the members took with what was written: everything, with
// what is known of it, and in order within each member. Repeats are errors
// unless allowed.
func check(t *testing.T, logs []*recordtest.Log, repeats bool, members ...*member) {
	t.Helper()
	type stream struct {
		container string
		stream    record.Stream
	}
	seen := map[stream]map[string]int{}
	total := 0
	for _, a := range members {
		last := map[stream]int64{}
		for _, r := range a.all() {
			k := stream{r.container, r.stream}
			if seen[k] == nil {
				seen[k] = map[string]int{}
			}
			if seen[k][r.line]++; seen[k][r.line] > 1 && !repeats {
				t.Errorf("%v: %q is there again", k, r.line)
			}
			if r.time < last[k] && !repeats {
				t.Errorf("%v: %q is out of order", k, r.line)
			}
			last[k] = max(last[k], r.time)
			if r.host != "h-"+r.container {
				t.Errorf("%v: host %q", k, r.host)
			}
			total++
		}
	}
	for _, log := range logs {
		for s := range record.Stream(record.NumStreams) {
			k := stream{log.Source.ContainerName, s}
			for _, line := range log.Lines(s) {
				if seen[k][line] == 0 {
					t.Errorf("%v: %q was lost", k, line)
				}
				delete(seen[k], line)
			}
			if len(seen[k]) > 0 {
				t.Errorf("%v: %d lines that nobody wrote", k, len(seen[k]))
			}
		}
	}
	if total == 0 {
		t.Error("nothing was taken")
	}
}

func lines(logs []*recordtest.Log) (n int) {
	for _, log := range logs {
		n += len(log.Lines(record.Stdout)) + len(log.Lines(record.Stderr))
	}
	return n
}

// Every line that agents wrote to Kafka comes out with all that is known of it,
// and the group's offsets move when it is delivered.
func TestEveryLine(t *testing.T) {
	c := startCluster(t)
	logs := newLogs("c", 6, 200)
	produce(t, c, logs...)
	stuck := make(chan struct{})
	a := startMember(t, c, deliverytest.NewJournal(), stuck, patience)
	eventually(t, "the messages are read", func() bool { return a.deliver.Accounts().Accepted == uint64(lines(logs)) })
	if sum, _ := committed(t, c); sum != 0 {
		t.Errorf("offsets of %d in all were committed before anything was delivered", sum)
	}
	close(stuck)
	eventually(t, "the offsets are committed", func() bool {
		sum, ends := committed(t, c)
		return sum == ends && ends == int64(lines(logs))
	})
	check(t, logs, false, a)
	a.stop()

	// What was committed is not read again.
	b := startMember(t, c, deliverytest.NewJournal(), open(), patience)
	more := newLogs("more", 2, 30)
	produce(t, c, more...)
	eventually(t, "the new messages are delivered", func() bool { return len(b.all()) >= lines(more) })
	b.stop()
	check(t, more, false, b)
}

// A member joins in mid-run and one leaves: every line is delivered once, by one
// or the other.
func TestRebalance(t *testing.T) {
	c := startCluster(t)
	a := startMember(t, c, deliverytest.NewJournal(), open(), patience)
	var logs []*recordtest.Log
	write := func(prefix string) {
		more := newLogs(prefix, 8, 100)
		produce(t, c, more...)
		logs = append(logs, more...)
	}
	write("before")
	b := startMember(t, c, deliverytest.NewJournal(), open(), patience)
	write("joining")
	eventually(t, "both members have partitions", func() bool {
		return a.monitor.assigned.Load() > 0 && b.monitor.assigned.Load() > 0 && a.monitor.assigned.Load()+b.monitor.assigned.Load() == partitions
	})
	write("shared")
	eventually(t, "the second member delivers", func() bool { return len(b.all()) > 0 })
	a.stop()
	write("alone")
	eventually(t, "all is delivered", func() bool { return len(a.all())+len(b.all()) >= lines(logs) })
	eventually(t, "the offsets are committed", func() bool {
		sum, ends := committed(t, c)
		return sum == ends && ends == int64(lines(logs))
	})
	b.stop()
	check(t, logs, false, a, b)
}

// A broker is lost in mid-run, with partitions and perhaps the group's coordinator:
// every line is delivered once, and the offsets reach the end.
func TestBrokerLost(t *testing.T) {
	c := startCluster(t)
	a := startMember(t, c, deliverytest.NewJournal(), open(), patience)
	b := startMember(t, c, deliverytest.NewJournal(), open(), patience)
	eventually(t, "both members have partitions", func() bool {
		return a.monitor.assigned.Load() > 0 && b.monitor.assigned.Load() > 0 && a.monitor.assigned.Load()+b.monitor.assigned.Load() == partitions
	})
	logs := newLogs("before", 8, 100)
	produced := make(chan struct{})
	go func() {
		defer close(produced)
		produce(t, c, logs...)
	}()
	eventually(t, "lines are delivered", func() bool { return len(a.all())+len(b.all()) > 0 })
	if err := c.RemoveNode(c.LeaderFor(topic, 0)); err != nil {
		t.Fatal(err)
	}
	<-produced
	more := newLogs("after", 8, 100)
	produce(t, c, more...)
	logs = append(logs, more...)
	eventually(t, "all is delivered", func() bool { return len(a.all())+len(b.all()) >= lines(logs) })
	eventually(t, "the offsets are committed", func() bool {
		sum, ends := committed(t, c)
		return sum == ends && ends == int64(lines(logs))
	})
	a.stop()
	b.stop()
	check(t, logs, false, a, b)
}

// A member that goes before its sinks have delivered loses nothing: another reads
// what was not in their custody. Back with its own positions, it repeats nothing
// that it had delivered.
func TestGoneBeforeCustody(t *testing.T) {
	c := startCluster(t)
	logs := newLogs("c", 5, 100)
	produce(t, c, logs...)
	stuck := make(chan struct{})
	a := startMember(t, c, deliverytest.NewJournal(), stuck, 50*time.Millisecond)
	eventually(t, "the messages are read", func() bool { return a.deliver.Accounts().Accepted == uint64(lines(logs)) })
	a.stop()
	if n := len(a.all()); n != 0 {
		t.Fatalf("a destination that was stuck took %d lines", n)
	}
	b := startMember(t, c, deliverytest.NewJournal(), open(), patience)
	eventually(t, "another delivers all", func() bool { return len(b.all()) >= lines(logs) })
	b.stop()
	check(t, logs, false, b)
}

// What is no document is a line, whole.
func TestMessages(t *testing.T) {
	s := newSources(Messages{Time: "time", Line: "line"})
	f := func(value, want string) {
		t.Helper()
		m := s.parse("kafka/x/0", &kgo.Record{Topic: "topic", Key: []byte("key"), Value: []byte(value), Timestamp: time.Unix(5, 0)})
		got := fmt.Sprintf("%d %v %d %q of %s/%s/%s", m.time, m.stream, m.flags, m.line, m.source.ContainerName, m.source.ContainerID, m.source.Host)
		if got != want || m.source.Key != "kafka/x/0" {
			t.Errorf("%s: %s, want %s", value, got, want)
		}
	}
	f("plain", `5000000000 stdout 0 "plain" of topic/key/`)
	f("", `5000000000 stdout 0 "" of topic/key/`)
	f(`{"a":1}`, `5000000000 stdout 0 "{\"a\":1}" of topic/key/`)
	f(`{"line":5}`, `5000000000 stdout 0 "{\"line\":5}" of topic/key/`)
	f(`{"line":"x","line_base64":"%"}`, `5000000000 stdout 0 "{\"line\":\"x\",\"line_base64\":\"%\"}" of topic/key/`)
	f(`{"line":"x"}`, `5000000000 stdout 0 "x" of //`)
	f(`{"line":"`+"\uFFFD"+`","line_base64":"/w==","time":"1970-01-01T00:00:01.5Z","stream":"stderr","cut":true,"unterminated":true,"container_name":"web","container_id":"id","host":"h"}`,
		`1500000000 stderr 5 "\xff" of web/id/h`)
	text := newSources(Messages{Text: true})
	if m := text.parse("k", &kgo.Record{Value: []byte(`{"line":"x"}`)}); string(m.line) != `{"line":"x"}` {
		t.Errorf("as text: %q", m.line)
	}
	for i := range 3 * maxSources {
		s.of(origin{name: fmt.Sprint(i)})
	}
	if len(s.known) > maxSources {
		t.Errorf("%d sources are kept", len(s.known))
	}
}

func TestNewRefuses(t *testing.T) {
	f := func(o Options, want string) {
		t.Helper()
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
	f(Options{}, "topics and group")
	f(Options{Topics: []string{"a"}, Group: "g"}, "brokers is empty")
}
