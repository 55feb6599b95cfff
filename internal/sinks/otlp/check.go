package otlp

import (
	"context"
	"errors"

	"log_capturer/internal/delivery"
)

// Check exports nothing: a request without records, which a destination answers
// like any other (the protocol lets it have no resource logs), after it has looked
// at the path, the protocol and the credentials.
func (s *Sink) Check(ctx context.Context) error {
	err := s.Send(ctx, &delivery.Request{})
	if permanent, ok := errors.AsType[*delivery.PermanentError](err); ok {
		// There is no record that could be to blame.
		return permanent.Err
	}
	return err
}
