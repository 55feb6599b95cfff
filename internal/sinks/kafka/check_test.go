package kafka

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"log_capturer/internal/kafkaclient"
	"log_capturer/internal/sinks/kafka/kafkatest"
)

// A check produces nothing and makes no topic, and says what is wrong.
func TestCheck(t *testing.T) {
	c := kafkatest.Start(t, nil, 2)
	defer c.Close()
	f := func(change func(*Options), want string) {
		t.Helper()
		o := options(c)
		o.Topic = kafkatest.Topic
		if change != nil {
			change(&o)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		err := newSink(t, o).Check(ctx)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", o.Topic, err, want)
		}
	}
	f(nil, "")
	f(func(o *Options) { o.Topic = "logs.{compose_project}" }, "") // it depends on the record
	f(func(o *Options) { o.Topic = "nothing" }, "make the topic, or check its name")
	f(func(o *Options) { o.Topic, o.CreateTopics = "nothing", true }, "")
	f(func(o *Options) { o.Topic = "nothing" }, "make the topic, or check its name") // it was not made
	f(func(o *Options) { o.Client.SASL.Password = "wrong" }, "the username and the password")
	f(func(o *Options) {
		o.Client.Brokers = []string{"127.0.0.1:1"}
		o.Client.RequestTimeout = 100 * time.Millisecond
	}, "connect to the brokers: ")

	// What the login may do, as brokers with rights tell it.
	rights := func(code int16, operations int32, want string) {
		t.Helper()
		c.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
			asked := req.(*kmsg.MetadataRequest)
			if len(asked.Topics) == 0 {
				return nil, nil, false
			}
			if asked.AllowAutoTopicCreation || !asked.IncludeTopicAuthorizedOperations {
				t.Errorf("asked %+v", asked)
			}
			res := asked.ResponseKind().(*kmsg.MetadataResponse)
			topic := kmsg.NewMetadataResponseTopic()
			topic.Topic, topic.ErrorCode, topic.AuthorizedOperations = kmsg.StringPtr(kafkatest.Topic), code, operations
			res.Topics = append(res.Topics, topic)
			return res, nil, true
		})
		f(nil, want)
	}
	rights(0, math.MinInt32, "")
	rights(0, 1<<kafkaclient.Write, "")
	rights(0, 1<<kafkaclient.Read, "allow it Write on the topic")
	rights(kerr.TopicAuthorizationFailed.Code, 0, "allow the login Describe")
	if lines := c.Lines(); len(lines) > 0 {
		t.Errorf("%d messages were produced", len(lines))
	}
}
