package splunk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"log_capturer/internal/delivery"
)

// noData is HEC's code for a request without events, which it comes to when it
// has found the token and the channel good.
const noData = 5

// Tried says what Check finds out.
func (s *Sink) Tried() string { return "the token, not whether it may write to the index" }

// Check sends a request without events. HEC looks at the token before it says
// that there is no data. Where acknowledgements are wanted it asks for one that
// there is not, which tells whether they are turned on.
func (s *Sink) Check(ctx context.Context) error {
	header := s.header()
	header.Del("Content-Encoding") // nothing is not compressed
	res, err := s.client.Post(ctx, s.event, header, nil)
	if err != nil {
		return err
	}
	var a answer
	if json.Unmarshal(res.Body, &a) != nil || a.Code == nil || *a.Code != noData {
		_, err := readAnswer(res)
		if permanent, ok := errors.AsType[*delivery.PermanentError](err); ok {
			return permanent.Err
		}
		return err
	}
	if s.poll == 0 {
		return nil
	}
	if res, err = s.ask(ctx, 0); err != nil {
		return err
	}
	if res.Status == http.StatusOK {
		return nil
	}
	if _, err := readAnswer(res); err != nil {
		return fmt.Errorf("ask for an acknowledgement: %w", err)
	}
	return res.Error("a question for an acknowledgement was not understood")
}
