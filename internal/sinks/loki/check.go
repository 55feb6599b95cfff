package loki

import (
	"context"
	"net/http"

	"log_capturer/internal/delivery"
	"log_capturer/internal/record"
)

// Check pushes nothing. Loki looks at the path, the credentials and the tenant
// before it answers 422 to a push without streams (pkg/distributor, the
// beginning of Push); others that speak its protocol may take it.
func (s *Sink) Check(ctx context.Context) error {
	req := &delivery.Request{}
	if err := s.encode(req); err != nil {
		return err
	}
	// The tenant of some container: which there will be is not known.
	some := &record.Source{
		Host: "check", ContainerID: "check", ContainerName: "check", Image: "check",
		ComposeProject: "check", ComposeService: "check",
	}
	res, err := s.client.Post(ctx, s.url, s.headerOf(s.fixed.Of(some, record.Stdout).tenant), req.Body)
	if err != nil {
		return err
	}
	switch res.Status {
	case http.StatusUnprocessableEntity:
		return nil
	case http.StatusBadRequest:
		// There is no record that could be to blame.
		return res.Error(configurationHint(string(res.Body)))
	}
	return s.read(res, func() []*record.Record { return nil })
}
