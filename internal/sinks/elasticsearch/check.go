package elasticsearch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"log_capturer/internal/httpclient"
)

// Tried says what Check finds out.
func (s *Sink) Tried() string {
	if _, fixed := s.index.tmpl.Fixed(); !fixed {
		return "every host and the credentials, not the rights on an index, which depends on the record"
	}
	return "every host, the credentials, and their rights on the index where the cluster tells"
}

// Check asks every host: whether it takes bulk requests, with one that has no
// documents, and whether the credentials may create documents in the index, where
// all go to the same one and the cluster can tell (Elasticsearch's security can).
func (s *Sink) Check(ctx context.Context) error {
	var errs []error
	for _, host := range s.hosts {
		if err := s.checkHost(ctx, host); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", host.Host, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Sink) checkHost(ctx context.Context, host *url.URL) error {
	header := http.Header{"Content-Type": s.header["Content-Type"]}
	// Without the filter, so that a refusal says why.
	target := *host
	q := target.Query()
	q.Del("filter_path")
	target.RawQuery = q.Encode()
	res, err := s.client.Post(ctx, &target, header, []byte("\n"))
	if err != nil {
		return err
	}
	if err := readEmpty(res); err != nil {
		return err
	}
	name, fixed := s.index.tmpl.Fixed()
	if !fixed {
		return nil
	}
	return s.checkRights(ctx, host, name)
}

// noDocuments are the errors with which clusters answer a bulk request that has
// no documents, when all else about it is well.
var noDocuments = []string{"action_request_validation_exception", "parse_exception", "illegal_argument_exception"}

// readEmpty reads the answer to a bulk request without documents.
func readEmpty(res *httpclient.Response) error {
	switch res.Status {
	case http.StatusOK:
		var a answer
		if json.Unmarshal(res.Body, &a) != nil || a.Errors == nil {
			return errAnswer(res, "it has no member errors")
		}
		return nil
	case http.StatusBadRequest:
		var a struct {
			Error struct {
				Type   string `json:"type"`
				Reason string `json:"reason"`
			} `json:"error"`
		}
		// What is wrong with the pipeline is an illegal argument as well.
		if json.Unmarshal(res.Body, &a) == nil && !strings.Contains(a.Error.Reason, "pipeline") {
			for _, known := range noDocuments {
				if a.Error.Type == known {
					return nil
				}
			}
		}
		return res.Error("a bulk request is not understood there: check the sink's urls and pipeline")
	}
	if err := res.Classify(); err != nil {
		return err
	}
	return res.Error("a bulk request is answered 200: check the sink's urls")
}

// checkRights asks whether the credentials may create documents in an index. A
// cluster that has no such question leaves it open.
func (s *Sink) checkRights(ctx context.Context, host *url.URL, index string) error {
	target := *host
	target.Path = strings.TrimSuffix(host.Path, "/_bulk") + "/_security/user/_has_privileges"
	target.RawQuery = ""
	body, err := json.Marshal(map[string]any{
		"index": []any{map[string]any{"names": []string{index}, "privileges": []string{"create_doc"}}},
	})
	if err != nil {
		return err
	}
	res, err := s.client.Post(ctx, &target, http.Header{"Content-Type": {"application/json"}}, body)
	if err != nil {
		return err
	}
	var a struct {
		All *bool `json:"has_all_requested"`
	}
	if res.Status == http.StatusOK && json.Unmarshal(res.Body, &a) == nil && a.All != nil && !*a.All {
		return fmt.Errorf("the credentials may not create documents in %s: give their role the privilege create_doc on it", index)
	}
	return nil
}
