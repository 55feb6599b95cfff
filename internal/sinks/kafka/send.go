package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"log_capturer/internal/delivery"
	"log_capturer/internal/identity"
	"log_capturer/internal/jsondoc"
)

// attempt is what became of a request's records, over all attempts to deliver
// it. Its messages hold copies of the lines: the client may still be at them when
// Send has returned.
type attempt struct {
	records []kgo.Record

	mu     sync.Mutex
	errs   []error // nil for a record that is acknowledged
	flying int
	landed chan struct{} // closed when none is flying
}

// errFlying stands for a record of which nothing was heard yet.
var errFlying = errors.New("not acknowledged yet")

// Send makes one attempt to have all records of req acknowledged: it produces
// those that are neither acknowledged nor on their way, and waits. See
// delivery.Sink for what its errors mean.
func (s *Sink) Send(ctx context.Context, req *delivery.Request) error {
	select {
	case <-s.ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	if req.Len() == 0 {
		return nil
	}
	number, a := s.attemptOf(req)
	s.produce(a)
	select {
	case <-a.landed:
	case <-ctx.Done():
		return s.waiting(ctx, a)
	}
	err := a.verdict()
	_, partial := errors.AsType[*delivery.PartialError](err)
	_, permanent := errors.AsType[*delivery.PermanentError](err)
	_, tooLarge := errors.AsType[*delivery.TooLargeError](err)
	if err == nil || partial || permanent || tooLarge {
		s.mu.Lock()
		delete(s.attempts, number)
		s.mu.Unlock()
	}
	if err == nil {
		s.trouble.Clear()
	}
	return err
}

// attemptOf returns the attempt that an earlier Send of the same records has
// begun, or begins one. A request's body holds its number.
func (s *Sink) attemptOf(req *delivery.Request) (uint64, *attempt) {
	s.mu.Lock()
	if req.Encoded && len(req.Body) == 8 {
		number := binary.LittleEndian.Uint64(req.Body)
		if a := s.attempts[number]; a != nil {
			s.mu.Unlock()
			return number, a
		}
	}
	s.last++
	number := s.last
	s.mu.Unlock()
	a := s.newAttempt(req)
	req.Body, req.Encoded = binary.LittleEndian.AppendUint64(req.Body[:0], number), true
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempts[number] = a
	return number, a
}

// newAttempt makes the messages of a request.
func (s *Sink) newAttempt(req *delivery.Request) *attempt {
	n, size := 0, 0
	for b, r := range req.All() {
		n, size = n+1, size+len(b.Line(r))
	}
	a := &attempt{records: make([]kgo.Record, 0, n), errs: make([]error, n)}
	var clock jsondoc.Clock
	var id []byte
	if s.shape != nil {
		size += size/8 + 300*n
	}
	values := make([]byte, 0, size)
	for i := range req.Parts {
		p := &req.Parts[i]
		source, numbers := identity.Of(p.Batch.Source), identity.Before(p.Batch, p.From)
		for j := p.From; j < p.To; j++ {
			r := &p.Batch.Records[j]
			number := numbers.Next(r.Stream)
			if !p.Streams.Has(r.Stream) {
				continue
			}
			// Where values grows, the messages before keep the array that they
			// are in.
			begin := len(values)
			if s.shape == nil {
				values = append(values, p.Batch.Line(r)...)
			} else {
				if s.shape.HasID() {
					id = source.Append(id[:0], r, number, p.Batch.Line(r))
				}
				values = s.shape.Append(values, &clock, p.Batch, r, id)
			}
			a.records = append(a.records, kgo.Record{
				Topic: s.topic.of(p.Batch.Source, r), Key: s.keys.Of(p.Batch.Source, r.Stream),
				Value: values[begin:len(values):len(values)], Timestamp: time.Unix(0, r.Time),
			})
		}
	}
	for i := range a.errs {
		a.errs[i] = errNotSent
	}
	return a
}

// errNotSent stands for a record that was not produced yet.
var errNotSent = errors.New("not sent")

// produce produces what is neither acknowledged, nor refused, nor on its way.
func (s *Sink) produce(a *attempt) {
	a.mu.Lock()
	if a.flying > 0 {
		a.mu.Unlock()
		return
	}
	var again []int
	for i, err := range a.errs {
		if err != nil && !refusedForGood(err) {
			again = append(again, i)
			a.errs[i] = errFlying
		}
	}
	a.flying, a.landed = len(again), make(chan struct{})
	if len(again) == 0 {
		close(a.landed)
	}
	a.mu.Unlock()
	for _, i := range again {
		r := &a.records[i]
		// A record that was produced before holds its outcome.
		*r = kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Timestamp: r.Timestamp}
		// No attempt's end stops a message: whether it is there could not be
		// known then.
		s.client.Produce(context.Background(), r, func(_ *kgo.Record, err error) { a.land(i, err) })
	}
}

// land notes what became of a message.
func (a *attempt) land(i int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.errs[i] = err
	if a.flying--; a.flying == 0 {
		close(a.landed)
	}
}

// waiting is the error of an attempt that ended too early, with the client's
// last trouble, which is most often why.
func (s *Sink) waiting(ctx context.Context, a *attempt) error {
	a.mu.Lock()
	flying := a.flying
	a.mu.Unlock()
	if trouble := s.trouble.Last(); trouble != nil {
		return fmt.Errorf("%d messages are not acknowledged: %w: %w", flying, ctx.Err(), trouble)
	}
	return fmt.Errorf("%d messages are not acknowledged: %w", flying, ctx.Err())
}

// verdict translates what became of all messages to what delivery.Sink promises.
func (a *attempt) verdict() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var refused []delivery.Refusal
	batch := false // a broker refused them, which may have been for another's sake
	var failed error
	failures := 0
	for i, err := range a.errs {
		switch {
		case err == nil:
		case refusedForGood(err):
			refused = append(refused, delivery.Refusal{Index: i, Reason: reason(err), Detail: err.Error()})
			batch = batch || !tooLargeAlone(err)
		default:
			if failures++; failed == nil {
				failed = err
			}
		}
	}
	switch {
	case failures > 0:
		return fmt.Errorf("%d of %d messages failed: %w%s", failures, len(a.errs), failed, hint(failed))
	case batch && len(a.errs) > 1:
		return &delivery.PermanentError{Reason: refused[0].Reason, Err: errors.New(refused[0].Detail)}
	case len(refused) > 0:
		return &delivery.PartialError{Refused: refused}
	}
	return nil
}

// refusedForGood reports whether a message will never be taken.
func refusedForGood(err error) bool { return reason(err) != "" }

// reason returns the label of a refusal, empty for what may be tried again.
func reason(err error) string {
	switch {
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge):
		return "too_large"
	case errors.Is(err, kerr.InvalidRecord):
		return "invalid_record"
	case errors.Is(err, kerr.InvalidTimestamp):
		return "invalid_timestamp"
	case errors.Is(err, kerr.UnsupportedForMessageFormat):
		return "unsupported_format"
	}
	return ""
}

// tooLargeAlone reports whether the client itself found a message to be larger
// than a batch may be. A broker's word would be about the whole batch, with its
// size after compression.
func tooLargeAlone(err error) bool {
	return errors.Is(err, kerr.MessageTooLarge) && !strings.Contains(err.Error(), " compressed_bytes=")
}

// hint says what an operator can do about an error.
func hint(err error) string {
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return " (the topic does not exist: create it, or set create_topics)"
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		return " (the user may not write there: check its ACLs)"
	}
	return ""
}
