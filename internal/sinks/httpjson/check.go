package httpjson

import (
	"context"
	"errors"
	"net/http"

	"log_capturer/internal/delivery"
)

// Tried says what Check finds out.
func (s *Sink) Tried() string { return "asked with OPTIONS, since nothing else is known of it" }

// Check asks the destination with OPTIONS, which gives it nothing. Many that take
// posts do not know the method: an answer that says so is a good one. Whether the
// destination would take documents cannot be found out without giving it some.
func (s *Sink) Check(ctx context.Context) error {
	res, err := s.client.Ask(ctx, s.url)
	if err != nil {
		return err
	}
	switch res.Status {
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotImplemented,
		http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return nil
	}
	err = res.Classify()
	if permanent, ok := errors.AsType[*delivery.PermanentError](err); ok {
		return permanent.Err
	}
	return err
}
