package splunk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"log_capturer/internal/delivery"
	"log_capturer/internal/httpclient"
)

// answer is what HEC answers.
type answer struct {
	Text    string  `json:"text"`
	Code    *int    `json:"code"`
	AckID   *uint64 `json:"ackId"`
	Invalid *int    `json:"invalid-event-number"`
}

// verdict is what a code means for a request.
type verdict int

const (
	taken verdict = iota
	again
	refused
)

// code is one of HEC's codes.
type code struct {
	verdict verdict
	// reason is a refusal's label, hint what an operator can do about the
	// others.
	reason, hint string
}

// codes are all that Splunk documents.
var codes = map[int]code{
	0:  {verdict: taken},
	1:  {verdict: again, hint: "the token is disabled: enable it in Splunk"},
	2:  {verdict: again, hint: "the sink has no token: set one"},
	3:  {verdict: again, hint: "check the sink's token"},
	4:  {verdict: again, hint: "Splunk does not know the token: check it"},
	5:  {verdict: refused, reason: "no_data"},
	6:  {verdict: refused, reason: "invalid_data"},
	7:  {verdict: again, hint: "the token may not write to the index: allow it in Splunk, or change the sink's index"},
	8:  {verdict: again},
	9:  {verdict: again},
	10: {verdict: again, hint: "something on the way drops the channel's header"},
	11: {verdict: again, hint: "check the sink's channel"},
	12: {verdict: refused, reason: "no_event"},
	13: {verdict: refused, reason: "blank_event"},
	14: {verdict: again, hint: "indexer acknowledgement is off for the token: turn it on in Splunk, or acknowledge off for the sink"},
	15: {verdict: refused, reason: "indexed_fields"},
	16: {verdict: again, hint: "the token stands in the url: move it to token"},
	17: {verdict: again, hint: "this is the health endpoint: check the sink's url"},
	18: {verdict: again, hint: "Splunk's queues are full"},
	19: {verdict: again, hint: "Splunk's acknowledgement service is down"},
	20: {verdict: again, hint: "Splunk's queues are full, and its acknowledgement service is down"},
	21: {verdict: again, hint: "Splunk does not know the token: check it"},
	22: {verdict: again, hint: "the token is disabled: enable it in Splunk"},
	23: {verdict: again},
	24: {verdict: again, hint: "this is the health endpoint: check the sink's url"},
	25: {verdict: again, hint: "this is the health endpoint: check the sink's url"},
	26: {verdict: again},
	27: {verdict: again, hint: "too many requests wait for their acknowledgement"},
}

// readAnswer translates an answer to what delivery.Sink promises, and returns
// the number of the acknowledgement, if one was promised.
func readAnswer(res *httpclient.Response) (ackID *uint64, err error) {
	var a answer
	if res.Status == http.StatusRequestEntityTooLarge || json.Unmarshal(res.Body, &a) != nil || a.Code == nil {
		// Somebody else's answer, or that of a HEC that did not read the request.
		if err := res.Classify(); err != nil {
			return nil, err
		}
		return nil, res.Error("this is no answer of an event collector: check the sink's url")
	}
	c, known := codes[*a.Code]
	if !known {
		if res.Status >= 200 && res.Status < 300 {
			return nil, res.Error("a code that Splunk does not document")
		}
		return nil, res.Classify()
	}
	switch c.verdict {
	case taken:
		if res.Status != http.StatusOK {
			return nil, res.Error("")
		}
		return a.AckID, nil
	case refused:
		text := fmt.Errorf("code %d: %s", *a.Code, res.Message)
		return nil, &delivery.PermanentError{Reason: c.reason, Err: text}
	}
	return nil, res.Error(c.hint)
}

// await asks for an acknowledgement until it comes, or ctx is done: then the
// request has to be sent again.
func (s *Sink) await(ctx context.Context, id uint64) error {
	pause := max(s.poll/10, time.Millisecond)
	for {
		if err := sleep(ctx, pause); err != nil {
			return fmt.Errorf("wait for the acknowledgement: %w", errors.Join(errUnacknowledged, err))
		}
		pause = min(2*pause, s.poll)
		res, err := s.ask(ctx, id)
		if ctx.Err() != nil {
			continue // to the word about it
		}
		if err != nil {
			return err
		}
		var a struct {
			Acks map[string]bool `json:"acks"`
		}
		if res.Status != http.StatusOK || json.Unmarshal(res.Body, &a) != nil || a.Acks == nil {
			if _, err := readAnswer(res); err != nil {
				if _, permanent := errors.AsType[*delivery.PermanentError](err); !permanent {
					return fmt.Errorf("ask for the acknowledgement: %w", err)
				}
			}
			// A refused question refuses no record.
			return res.Error("a question for an acknowledgement was not understood")
		}
		if a.Acks[strconv.FormatUint(id, 10)] {
			return nil
		}
	}
}

// ask asks once for an acknowledgement.
func (s *Sink) ask(ctx context.Context, id uint64) (*httpclient.Response, error) {
	target := *s.ack
	if target.RawQuery != "" {
		target.RawQuery += "&"
	}
	target.RawQuery += "channel=" + s.channel
	header := http.Header{"Content-Type": {"application/json"}, "X-Splunk-Request-Channel": {s.channel}}
	return s.client.Post(ctx, &target, header, fmt.Appendf(nil, `{"acks":[%d]}`, id))
}

// errUnacknowledged is why a request is sent again that Splunk has answered.
var errUnacknowledged = errors.New("the attempt ended before Splunk said that the request is indexed; if that happens often, raise the sink's timeout")

// sleep waits for the pause, or until ctx is done.
func sleep(ctx context.Context, pause time.Duration) error {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
