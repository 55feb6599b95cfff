// Package elasticsearchtest has a strict destination for tests that speaks the bulk
// API of Elasticsearch.
package elasticsearchtest

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"log_capturer/internal/sinks/sinktest"
)

// Cluster is a strict bulk API, written from Elastic's reference: it takes
// creates alone, tells repeats by index and _id, and answers item by item.
type Cluster struct {
	// Index is the only index that there may be; empty for any.
	Index string
	// Names are those of the documents.
	Names sinktest.Names

	ids map[string]bool
}

// item is the answer to one document.
type item struct {
	Status int `json:"status"`
	Error  struct {
		Type   string `json:"type"`
		Reason string `json:"reason"`
	} `json:"error"`
}

type action struct {
	Create *struct {
		Index string `json:"_index"`
		ID    string `json:"_id"`
	} `json:"create"`
}

// Serve answers a bulk request. Of a busy cluster every second document is
// stored, and the others are turned away.
func (c *Cluster) Serve(r *sinktest.HTTPRequest, busy bool) sinktest.Answer {
	if c.ids == nil {
		c.ids = map[string]bool{}
	}
	wrong := func(format string, args ...any) sinktest.Answer {
		return sinktest.Answer{Violation: fmt.Sprintf(format, args...)}
	}
	if r.Method != http.MethodPost || r.URL.Path != "/base/_bulk" || r.Header.Get("Content-Type") != "application/x-ndjson" ||
		r.URL.Query().Get("filter_path") == "" {
		return wrong("%s %s with %v", r.Method, r.URL, r.Header)
	}
	body, ok := bytes.CutSuffix(r.Body, []byte("\n"))
	lines := bytes.Split(body, []byte("\n"))
	if !ok || len(lines)%2 != 0 {
		return wrong("%d lines, want pairs and a newline at the end", len(lines))
	}
	var items []map[string]item
	var a sinktest.Answer
	failed := false
	for i := 0; i < len(lines); i += 2 {
		decoder := json.NewDecoder(bytes.NewReader(lines[i]))
		decoder.DisallowUnknownFields()
		var act action
		if err := decoder.Decode(&act); err != nil || act.Create == nil || len(act.Create.ID) == 0 || len(act.Create.ID) > 512 {
			return wrong("action %q: %v", lines[i], err)
		}
		if c.Index != "" && act.Create.Index != c.Index {
			return wrong("index %q", act.Create.Index)
		}
		line, err := c.Names.Document(lines[i+1])
		if err != nil {
			return wrong("%v", err)
		}
		var it item
		line.ID = act.Create.ID
		key := act.Create.Index + "/" + act.Create.ID
		switch {
		case busy && i%4 == 2:
			it.Status, it.Error.Type = 429, "es_rejected_execution_exception"
		case r.Refuse(line.Text):
			it.Status, it.Error.Type, it.Error.Reason = 400, "document_parsing_exception", "failed to parse"
		case c.ids[key]:
			it.Status, it.Error.Type = 409, "version_conflict_engine_exception"
		default:
			it.Status = 201
			c.ids[key] = true
			a.Store = append(a.Store, line)
		}
		failed = failed || it.Status != 201
		items = append(items, map[string]item{"create": it})
	}
	text, err := json.Marshal(map[string]any{"errors": failed, "items": items})
	if err != nil {
		return wrong("%v", err)
	}
	a.Body = string(text)
	return a
}

// Start starts a server for the cluster, at the path /base.
func (c *Cluster) Start(t testing.TB, config *tls.Config) *sinktest.Server {
	t.Helper()
	return sinktest.StartServer(t, sinktest.Protocol{
		Serve: func(r *sinktest.HTTPRequest) sinktest.Answer { return c.Serve(r, false) },
		Busy: func(f sinktest.Fault) sinktest.Answer {
			a := sinktest.Answer{Status: http.StatusTooManyRequests}
			if f.RetryAfter > 0 {
				a.Header = map[string]string{"Retry-After": fmt.Sprint(f.RetryAfter.Seconds())}
			}
			return a
		},
		TooLarge:     func() sinktest.Answer { return sinktest.Answer{Status: http.StatusRequestEntityTooLarge} },
		Authorized:   func(r *http.Request, token string) bool { return r.Header.Get("Authorization") == "ApiKey "+token },
		Unauthorized: func() sinktest.Answer { return sinktest.Answer{Status: http.StatusUnauthorized} },
	}, config)
}
