package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"log_capturer/internal/delivery"
	"log_capturer/internal/identity"
	"log_capturer/internal/jsondoc"
	"log_capturer/internal/kafkaclient"
	"log_capturer/internal/record"
	"log_capturer/internal/sinks/kafka/kafkatest"
	"log_capturer/internal/sinks/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func options(c *kafkatest.Cluster) Options {
	return Options{
		Client: kafkaclient.Options{
			Brokers: c.ListenAddrs(), RequestTimeout: 500 * time.Millisecond, LookInterval: 20 * time.Millisecond,
			SASL: &kafkaclient.SASL{Mechanism: "scram-sha-256", Username: "admin", Password: "admin"},
		},
		Topic: "logs.{compose_project}", Key: "container", Compression: "zstd", MaxMessageBytes: 1 << 20,
		Documents: jsondoc.Options{Time: "time", Line: "line", Fields: jsondoc.DefaultFields()},
	}
}

func newSink(t testing.TB, o Options) *Sink {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// running runs the sink until the test ends, or stop is called.
func running(t testing.TB, s *Sink) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func harness() sinktest.Harness {
	return sinktest.Harness{
		Start: func(t *testing.T, config *tls.Config) sinktest.Target { return kafkatest.Start(t, config, 1) },
		New: func(t *testing.T, to sinktest.Target, conn sinktest.Connect) delivery.Sink {
			c := to.(*kafkatest.Cluster)
			o := options(c)
			if c.Limit() > 0 {
				o.MaxMessageBytes = c.Limit()
			}
			if c.Secured() {
				o.Client.TLS = &conn.TLS
			}
			if conn.TokenFile != "" {
				o.Client.SASL = &kafkaclient.SASL{Mechanism: "scram-sha-256", Username: kafkatest.User, PasswordFile: conn.TokenFile}
			}
			return newSink(t, o)
		},
		Once: true, Patient: true,
		Lacks: map[sinktest.Feature]sinktest.Lack{
			sinktest.RetryAfter: {
				Reason: "what a broker says of when to come back is obeyed by the client itself, within an attempt",
				Shown:  testThrottled,
			},
			sinktest.PartialRefusal: {
				Reason: "a broker refuses a batch; the good messages of it come again, behind those that came after",
				Shown:  testRefusedBatches,
			},
		},
	}
}

func TestSuite(t *testing.T) { sinktest.Run(t, harness()) }

// A broker that throttles and has no replicas costs time, and no attempt.
func testThrottled(t *testing.T) {
	c := kafkatest.Start(t, nil, 1)
	defer c.Close()
	c.SetFault(func(n int) sinktest.Fault {
		if n < 2 {
			return sinktest.Fault{Kind: sinktest.Busy}
		}
		return sinktest.Fault{}
	})
	s := newSink(t, options(c))
	defer running(t, s)()
	if err := s.Send(t.Context(), sinktest.Request(5)); err != nil || c.Requests() != 3 {
		t.Errorf("%v after %d requests", err, c.Requests())
	}
}

// Every good line arrives, and of a refused batch only the bad ones are dead
// letters.
func testRefusedBatches(t *testing.T) {
	c := kafkatest.Start(t, nil, 1)
	defer c.Close()
	bad := func(text string) bool { return strings.HasSuffix(text, " 17") || strings.HasSuffix(text, " 40") }
	c.SetRefuse(bad)
	o := options(c)
	o.Compression = "none" // the cluster reads the batches
	s := newSink(t, o)
	defer running(t, s)()
	var dead []string
	// What the delivery does with a request that is refused.
	var deliver func(p delivery.Part)
	deliver = func(p delivery.Part) {
		err := s.Send(t.Context(), &delivery.Request{Parts: []delivery.Part{p}})
		_, permanent := errors.AsType[*delivery.PermanentError](err)
		partial, isPartial := errors.AsType[*delivery.PartialError](err)
		switch {
		case permanent:
			half := (p.From + p.To) / 2
			first, second := p, p
			first.To, second.From = half, half
			deliver(first)
			deliver(second)
		case isPartial:
			for _, r := range partial.Refused {
				dead = append(dead, string(p.Batch.Line(&p.Batch.Records[p.From+r.Index])))
			}
		case err != nil:
			t.Error(err)
		}
	}
	deliver(sinktest.Request(60).Parts[0])
	if strings.Join(dead, ",") != "single line 17,single line 40" {
		t.Errorf("dead letters %q", dead)
	}
	got := all(c.Lines())
	for i := range 60 {
		text := fmt.Sprintf("single line %d", i)
		if n := got["single stdout "+text]; (n == 0) != bad(text) {
			t.Errorf("%q is there %d times", text, n)
		}
	}
}

// An attempt that ends too early leaves its messages on their way: the next one
// waits for them, and sends none twice.
func TestAnAttemptThatEndsEarlyIsGoneOnWith(t *testing.T) {
	c := kafkatest.Start(t, nil, 1)
	defer c.Close()
	c.SetFault(func(n int) sinktest.Fault {
		if n == 0 {
			return sinktest.Fault{Kind: sinktest.Hang}
		}
		return sinktest.Fault{}
	})
	s := newSink(t, options(c))
	defer running(t, s)()
	req := sinktest.Request(20)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Send(ctx, req); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "messages are not acknowledged") {
		t.Errorf("first attempt: %v", err)
	}
	if len(s.attempts) != 1 {
		t.Errorf("%d attempts are known", len(s.attempts))
	}
	if err := s.Send(t.Context(), req); err != nil {
		t.Errorf("second attempt: %v", err)
	}
	if n := len(c.Read()); n != 20 || len(s.attempts) != 0 {
		t.Errorf("%d messages, want 20; %d attempts are kept", n, len(s.attempts))
	}
}

// A broker is lost in mid-run, and its partitions move to another: every line is
// there once, in order.
func TestBrokerLost(t *testing.T) {
	c := kafkatest.Start(t, nil, 3)
	done := make(chan error, 1)
	produced := 0
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if produced++; produced == 10 {
			c.SleepControl(func() { done <- c.RemoveNode(c.LeaderFor(kafkatest.Topic, 0)) })
		}
		return nil, nil, false
	})
	h := harness()
	h.Start = func(*testing.T, *tls.Config) sinktest.Target { return c }
	sinktest.RunOrder(t, h, 1000)
	if err := <-done; err != nil {
		t.Errorf("remove a broker: %v", err)
	}
}

// Messages carry key, time, and in a topic of their own what they are told to.
func TestMessages(t *testing.T) {
	c := kafkatest.Start(t, nil, 1)
	defer c.Close()
	src := &record.Source{Key: "container/abc", ContainerID: "abc", ContainerName: "web", ComposeProject: "shop"}
	b := record.NewBatch(src, 100)
	b.Append(record.Record{Time: 1_700_000_000_123_000_000}, []byte("one"))
	b.Append(record.Record{Time: 1_700_000_000_124_000_000, Stream: record.Stderr}, []byte("tw\xffo"))
	f := func(change func(*Options), want ...string) {
		t.Helper()
		o := options(c)
		o.Client.SASL.Mechanism = "plain"
		change(&o)
		s := newSink(t, o)
		stop := running(t, s)
		if err := s.Send(t.Context(), &delivery.Request{Parts: []delivery.Part{{Batch: b, To: 2, Streams: record.AllStreams}}}); err != nil {
			t.Fatal(err)
		}
		stop()
		var got []string
		for _, r := range c.Read() {
			value := string(r.Value)
			if len(value) > 60 {
				value = value[:60]
			}
			got = append(got, fmt.Sprintf("%d %q %s", r.Timestamp.UnixMilli(), r.Key, value))
		}
		for _, w := range want {
			found := false
			for _, g := range got {
				found = found || g == w
			}
			if !found {
				t.Errorf("no message %s in\n%s", w, strings.Join(got, "\n"))
			}
		}
	}
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		f(func(o *Options) { o.Text, o.Compression = true, codec }, `1700000000123 "abc" one`, "1700000000124 \"abc\" tw\xffo")
	}
	f(func(o *Options) { o.Text, o.Key, o.Client.SASL.Mechanism = true, "stream", "scram-sha-512" }, `1700000000123 "abc/stdout" one`, "1700000000124 \"abc/stderr\" tw\xffo")
	f(func(o *Options) { o.Key, o.Documents.ID = "none", "id" }, `1700000000123 "" {"time":"2023-11-14T22:13:20.123000000Z","id":"`+idOf(b, 0)[:13])
}

// idOf is the identity of a batch's record.
func idOf(b *record.Batch, n int) string {
	r := &b.Records[n]
	numbers := identity.Before(b, n)
	return string(identity.Of(b.Source).Append(nil, r, numbers.Next(b, r), b.Line(r)))
}

func TestTopics(t *testing.T) {
	src := &record.Source{ContainerName: "my app/é", Host: strings.Repeat("h", 300)}
	f := func(text, want string) {
		t.Helper()
		topic, err := newTopic(text)
		if err != nil {
			t.Fatal(err)
		}
		got := topic.of(src, &record.Record{Time: time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC).UnixNano()})
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	f("logs", "logs")
	f("l.{container_name}-{stream}", "l.my_app___-stdout")
	f("l-{compose_project}-{date}", "l-none-2026-03-04")
	f("{host}", strings.Repeat("h", maxTopicBytes))
}

func TestRefusals(t *testing.T) {
	f := func(want string, errs ...error) {
		t.Helper()
		err := (&attempt{errs: errs}).verdict()
		got := "taken"
		if p, ok := errors.AsType[*delivery.PartialError](err); ok {
			got = fmt.Sprintf("partial %d %s", p.Refused[0].Index, p.Refused[0].Reason)
		} else if p, ok := errors.AsType[*delivery.PermanentError](err); ok {
			got = "permanent " + p.Reason
		} else if err != nil {
			got = "again: " + err.Error()
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%v: %s, want %s", errs, got, want)
		}
	}
	own := fmt.Errorf("%w (uncompressed_bytes=5)", kerr.MessageTooLarge)
	brokers := fmt.Errorf("%w (uncompressed_bytes=5, compressed_bytes=4)", kerr.MessageTooLarge)
	f("taken", nil, nil)
	f("partial 1 too_large", nil, own)
	f("permanent too_large", brokers, brokers)
	f("partial 0 too_large", brokers)
	f("permanent invalid_record", nil, kerr.InvalidRecord, kerr.InvalidRecord)
	f("partial 0 invalid_timestamp", kerr.InvalidTimestamp)
	f("again: 1 of 2 messages failed: "+kerr.UnknownTopicOrPartition.Error()+" (the topic does not exist", own, kerr.UnknownTopicOrPartition)
	f("again: 1 of 1 messages failed", kgo.ErrClientClosed)
}

// A topic that is not there is the operator's to make, and an attempt says so.
func TestNoTopic(t *testing.T) {
	c := kafkatest.Start(t, nil, 1)
	defer c.Close()
	o := options(c)
	o.Topic = "elsewhere"
	s := newSink(t, o)
	defer running(t, s)()
	ctx, cancel := context.WithTimeout(t.Context(), sinktest.Patience)
	defer cancel()
	if err := s.Send(ctx, sinktest.Request(1)); err == nil || !strings.Contains(err.Error(), "the topic does not exist") {
		t.Errorf("%v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	f := func(change func(*Options), want string) {
		t.Helper()
		o := Options{Client: kafkaclient.Options{Brokers: []string{"k:9092"}}, Topic: "logs", Key: "none", Compression: "none", MaxMessageBytes: 1 << 20, Text: true}
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
	f(func(o *Options) { o.Client.Brokers = nil }, "brokers is empty")
	f(func(o *Options) { o.Topic = "" }, "topic is empty")
	f(func(o *Options) { o.Topic = "a b" }, "which no topic may have")
	f(func(o *Options) { o.Topic = "{nmae}" }, "topic: ")
	f(func(o *Options) { o.Key = "x" }, "key")
	f(func(o *Options) { o.Compression = "x" }, "compression")
	f(func(o *Options) { o.MaxMessageBytes = 0 }, "max_message_bytes")
	f(func(o *Options) { o.Text = false }, "no name")
	f(func(o *Options) { o.Client.SASL = &kafkaclient.SASL{Mechanism: "plain"} }, "no username")
	f(func(o *Options) { o.Client.SASL = &kafkaclient.SASL{Mechanism: "x", Username: "u"} }, "mechanism")
	f(func(o *Options) {
		o.Client.SASL = &kafkaclient.SASL{Mechanism: "plain", Username: "u", PasswordFile: "/nonexistent"}
	}, "no such file")
}

// all returns the lines of both streams of messages whose order does not matter.
func all(lines []sinktest.Line) map[string]int {
	count := map[string]int{}
	for _, l := range lines {
		count[l.Source+" "+l.Stream.String()+" "+l.Text]++
	}
	return count
}
