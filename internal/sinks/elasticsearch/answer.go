package elasticsearch

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"log_capturer/internal/delivery"
	"log_capturer/internal/httpclient"
)

// answer is a bulk request's answer.
type answer struct {
	Errors *bool             `json:"errors"`
	Items  []map[string]item `json:"items"`
}

// item is what became of one document.
type item struct {
	Status int `json:"status"`
	Error  struct {
		Type   string `json:"type"`
		Reason string `json:"reason"`
	} `json:"error"`
}

// readAnswer translates an answer with status 200 to what delivery.Sink
// promises.
func readAnswer(res *httpclient.Response, req *delivery.Request) error {
	if withoutErrors(res.Body) {
		return nil
	}
	if res.Truncated {
		return &delivery.TooLargeError{Err: errors.New("the answer is too long to be read")}
	}
	var a answer
	if err := json.Unmarshal(res.Body, &a); err != nil {
		return errAnswer(res, "no JSON")
	}
	if a.Errors == nil {
		return errAnswer(res, "it has no member errors")
	}
	if n := req.Len(); len(a.Items) != n {
		return errAnswer(res, fmt.Sprintf("%d items for %d records", len(a.Items), n))
	}
	var refused []delivery.Refusal
	waiting := 0
	var first item
	for i := range a.Items {
		it, ok := a.Items[i]["create"]
		if !ok || it.Status == 0 {
			return errAnswer(res, fmt.Sprintf("item %d has no status", i))
		}
		switch verdictOf(it) {
		case taken:
		case refusedForGood:
			refused = append(refused, delivery.Refusal{Index: i, Reason: reason(it), Detail: clip(it.Error.Reason)})
		case again:
			if waiting++; waiting == 1 {
				first = it
			}
		}
	}
	if waiting > 0 {
		err := fmt.Errorf("%d of %d documents were not taken, the first with %d %s: %s%s", waiting, len(a.Items),
			first.Status, reason(first), clip(first.Error.Reason), hint(first))
		if after := res.RetryAfter(); after > 0 {
			return &delivery.RetryAfterError{After: after, Err: err}
		}
		return err
	}
	if len(refused) > 0 {
		return &delivery.PartialError{Refused: refused}
	}
	return nil
}

// withoutErrors reports whether an answer says, before it comes to its items,
// that all is well. Most do, and their items need not be read.
func withoutErrors(body []byte) bool {
	decoder := json.NewDecoder(strings.NewReader(string(body[:min(len(body), 200)])))
	if t, err := decoder.Token(); err != nil || t != json.Delim('{') {
		return false
	}
	for {
		name, err := decoder.Token()
		if err != nil {
			return false
		}
		value, err := decoder.Token()
		if err != nil {
			return false
		}
		if _, nested := value.(json.Delim); nested {
			return false
		}
		if name == "errors" {
			return value == false
		}
	}
}

type verdict int

const (
	taken verdict = iota
	refusedForGood
	again
)

// verdictOf says what an item's status means for its record.
func verdictOf(it item) verdict {
	switch s := it.Status; {
	case s >= 200 && s < 300, s == http.StatusConflict:
		return taken
	case s == http.StatusUnauthorized, s == http.StatusForbidden, s == http.StatusNotFound,
		s == http.StatusRequestTimeout, s == http.StatusTooManyRequests, s < 400, s >= 500,
		it.Error.Type == "index_closed_exception":
		return again
	}
	return refusedForGood
}

// hint says what an operator can do about an item.
func hint(it item) string {
	switch {
	case it.Status == http.StatusForbidden && strings.Contains(it.Error.Type, "block"):
		return " (the index is blocked: a full disk does that; see the cluster's disk watermarks)"
	case it.Status == http.StatusForbidden:
		return " (check the rights of the sink's credentials on the index)"
	case it.Status == http.StatusNotFound:
		return " (the index does not exist and may not be created: create it, or allow it)"
	}
	return ""
}

// maxReasonBytes bounds a reason, which is a label of metrics.
const maxReasonBytes = 60

// reason returns an item's type of error, one of the cluster's own list.
func reason(it item) string {
	t := it.Error.Type
	if t == "" || len(t) > maxReasonBytes || strings.Trim(t, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return "refused"
	}
	return t
}

// clip bounds a text from the cluster, which may repeat a document.
func clip(text string) string {
	const most = 512
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
