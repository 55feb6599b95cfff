package kafkaclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Right is something that may be allowed on a topic, by Kafka's own number.
type Right uint8

// The rights that are asked for.
const (
	Read  Right = 3
	Write Right = 4
)

func (r Right) String() string {
	if r == Read {
		return "Read"
	}
	return "Write"
}

// Question is what brokers are asked about.
type Question struct {
	// Topics are to be there, unless MayBeMade says that they may be made, and
	// Right is wanted on each.
	Topics    []string
	MayBeMade bool
	Right     Right
	// Group is the consumer group, empty for none.
	Group string
}

// Look connects and logs in to the brokers, and asks them: nothing is produced
// or consumed, and no group is joined. Its errors say what to do.
func Look(ctx context.Context, options []kgo.Opt, trouble *Trouble, q Question) error {
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	failed := func(what string, err error) error {
		// The client tries again and again; why is in what it logs.
		if last := trouble.Last(); last != nil && ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", ctx.Err(), last)
		}
		return fmt.Errorf("%s: %w%s", what, err, hint(err))
	}
	if err := client.Ping(ctx); err != nil {
		return failed("connect to the brokers", err)
	}
	if len(q.Topics) > 0 {
		if err := q.topics(ctx, client); err != nil {
			return failed("ask about topics", err)
		}
	}
	if q.Group == "" {
		return nil
	}
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorKey, req.CoordinatorKeys = q.Group, []string{q.Group}
	res, err := req.RequestWith(ctx, client)
	if err != nil {
		return failed("ask about the group "+q.Group, err)
	}
	code := res.ErrorCode
	for _, c := range res.Coordinators {
		code = c.ErrorCode
	}
	if err := kerr.ErrorForCode(code); err != nil && !kerr.IsRetriable(err) {
		return failed("ask about the group "+q.Group, err)
	}
	return nil
}

// topics asks about the topics. The request makes none.
func (q Question) topics(ctx context.Context, client *kgo.Client) error {
	req := kmsg.NewPtrMetadataRequest()
	req.IncludeTopicAuthorizedOperations = true
	for _, name := range q.Topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(name)
		req.Topics = append(req.Topics, t)
	}
	res, err := req.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range res.Topics {
		name := "?"
		if t.Topic != nil {
			name = *t.Topic
		}
		err := kerr.ErrorForCode(t.ErrorCode)
		switch {
		case errors.Is(err, kerr.UnknownTopicOrPartition) && q.MayBeMade:
		case err != nil:
			errs = append(errs, fmt.Errorf("topic %s: %w%s", name, err, hint(err)))
		// Brokers that do not tell have the least number there.
		case t.AuthorizedOperations != math.MinInt32 && t.AuthorizedOperations&(1<<q.Right) == 0:
			errs = append(errs, fmt.Errorf("topic %s: the login may not do that: allow it %s on the topic", name, q.Right))
		}
	}
	return errors.Join(errs...)
}

// hint says what an operator can do about an error.
func hint(err error) string {
	switch {
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return " (check the username and the password, and the mechanism)"
	case errors.Is(err, io.EOF):
		return " (the broker closed the connection: check whether it wants tls and a login, and the username and the password)"
	case errors.Is(err, kerr.UnsupportedSaslMechanism), errors.Is(err, kerr.IllegalSaslState):
		return " (check the mechanism of the login, and that this listener has logins)"
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return " (make the topic, or check its name)"
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return " (allow the login Describe and what it is to do on the topic)"
	case errors.Is(err, kerr.GroupAuthorizationFailed):
		return " (allow the login Read on the group)"
	}
	return ""
}
