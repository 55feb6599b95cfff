package kafka

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A check reads nothing and joins no group, and says what is wrong.
func TestCheck(t *testing.T) {
	c := startCluster(t)
	for _, key := range []kmsg.Key{kmsg.JoinGroup, kmsg.Fetch, kmsg.OffsetCommit} {
		c.ControlKey(int16(key), func(req kmsg.Request) (kmsg.Response, error, bool) {
			t.Errorf("%s was asked for", kmsg.NameForKey(req.Key()))
			return nil, nil, false
		})
	}
	f := func(o Options, want string) {
		t.Helper()
		o.Client, o.Group = reach(c), group
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		err := Check(ctx, o)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v: %v, want %q", o.Topics, err, want)
		}
	}
	f(Options{Topics: []string{topic}}, "")
	f(Options{Topics: []string{topic, "nothing"}}, "topic nothing: UNKNOWN_TOPIC_OR_PARTITION")
	forbid(c)
	f(Options{Topics: []string{topic}}, "allow the login Read on the group")
}

// forbid makes brokers say that the login may not use the group.
func forbid(c *kfake.Cluster) {
	c.ControlKey(int16(kmsg.FindCoordinator), func(req kmsg.Request) (kmsg.Response, error, bool) {
		res := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
		res.ErrorCode = kerr.GroupAuthorizationFailed.Code
		if res.Version >= 4 {
			coordinator := kmsg.NewFindCoordinatorResponseCoordinator()
			coordinator.Key, coordinator.ErrorCode = group, res.ErrorCode
			res.Coordinators = append(res.Coordinators, coordinator)
		}
		return res, nil, true
	})
}
