package loki

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"log_capturer/internal/delivery"
	"log_capturer/internal/httpclient"
	"log_capturer/internal/record"
	"log_capturer/internal/sinks/loki/lokitest"
)

type faultHook = func(int, *http.Request) (lokitest.Fault, bool)

// only returns a Fault hook for the n-th push, or for all when n is negative.
func only(f lokitest.Fault, n int) faultHook {
	return func(i int, _ *http.Request) (lokitest.Fault, bool) { return f, n < 0 || i == n }
}

// kind names what an error of Send means to the delivery.
func kind(err error) string {
	if err == nil {
		return "ok"
	}
	if p, ok := errors.AsType[*delivery.PartialError](err); ok {
		return fmt.Sprintf("partial %v", indexes(p.Refused))
	}
	if p, ok := errors.AsType[*delivery.PermanentError](err); ok {
		return "permanent " + p.Reason
	}
	if _, ok := errors.AsType[*delivery.TooLargeError](err); ok {
		return "too large"
	}
	if r, ok := errors.AsType[*delivery.RetryAfterError](err); ok {
		return fmt.Sprintf("transient after %v", r.After)
	}
	return "transient"
}

func indexes(refused []delivery.Refusal) []string {
	var all []string
	for _, r := range refused {
		all = append(all, fmt.Sprintf("%d:%s", r.Index, r.Reason))
	}
	return all
}

func TestEveryAnswer(t *testing.T) {
	f := func(fault lokitest.Fault, wantKind, wantText string) {
		t.Helper()
		loki := startLoki(t, lokitest.Options{Fault: always(fault)})
		s := newSink(t, Options{URL: loki.URL(), StreamsPerPush: 1, Client: httpclient.Options{BearerToken: "s3cr3t-token"}})
		err := s.Send(t.Context(), requestOf(batchOf(web, at(1, "a"), at(2, "b"))))
		if got := kind(err); got != wantKind {
			t.Errorf("%d: %s (%v), want %s", fault.Status, got, err, wantKind)
		}
		if text := fmt.Sprint(err); !strings.Contains(text, wantText) || strings.Contains(text, "s3cr3t-token") {
			t.Errorf("%d: %q does not tell %q, or tells a secret", fault.Status, text, wantText)
		}
	}
	answer := func(status int, body string) lokitest.Fault { return lokitest.Fault{Status: status, Body: body} }

	f(answer(200, ""), "ok", "")
	f(answer(204, ""), "ok", "")
	f(answer(200, "<!DOCTYPE html><html>Welcome</html>"), "transient", "web page, not Loki")
	f(answer(202, ""), "transient", "check the sink's url")
	f(answer(260, "ingestion blocked for user x until '2030-01-01T00:00:00Z' with status code '260'"), "transient", "block_ingestion_until")
	f(lokitest.Fault{Status: 302, Header: http.Header{"Location": {"/login"}}}, "transient", "redirects are not followed")
	f(answer(400, "something new"), "permanent bad_request", "something new")
	f(answer(401, "no org id"), "transient", "credentials")
	f(answer(401, "bad token s3cr3t-token"), "transient", "[redacted]")
	f(answer(403, ""), "transient", "rights")
	f(answer(404, "404 page not found"), "transient", "path of the sink's url")
	f(answer(408, ""), "transient", "408")
	f(answer(413, "too big"), "too large", "too big")
	f(lokitest.Fault{Status: 413, Early: true}, "too large", "413")
	f(answer(429, "Ingestion rate limit exceeded"), "transient", "Ingestion rate limit exceeded")
	f(lokitest.Fault{Status: 429, Header: http.Header{"Retry-After": {"7"}}}, "transient after 7s", "429")
	f(lokitest.Fault{Status: 503, Header: http.Header{"Retry-After": {"2"}}}, "transient after 2s", "503")
	f(answer(500, "oops"), "transient", "oops")
	f(answer(502, strings.Repeat("<html>", 100_000)), "transient", "502")
	f(lokitest.Fault{CutBody: true}, "transient", "post to http://127.0.0.1")
	f(lokitest.Fault{CutAnswer: true}, "transient", "post to http://127.0.0.1")
	f(lokitest.Fault{Store: true, CutAnswer: true}, "transient", "post to http://127.0.0.1")

	s := newSink(t, Options{URL: "http://127.0.0.1:1", StreamsPerPush: 1})
	if err := s.Send(t.Context(), requestOf(batchOf(web, at(1, "a")))); kind(err) != "transient" {
		t.Errorf("with nobody listening: %v", err)
	}
}

func TestHeaders(t *testing.T) {
	var got http.Header
	loki := startLoki(t, lokitest.Options{Fault: func(_ int, r *http.Request) (lokitest.Fault, bool) {
		got = r.Header.Clone()
		return lokitest.Fault{}, false
	}})
	f := func(o Options, want map[string]string) {
		t.Helper()
		o.URL, o.StreamsPerPush = loki.URL(), 1
		if err := newSink(t, o).Send(t.Context(), requestOf(batchOf(web, at(1, "a")))); err != nil {
			t.Fatal(err)
		}
		for name, value := range want {
			if strings.Join(got.Values(name), ",") != value {
				t.Errorf("%s is %q, want %q", name, got.Values(name), value)
			}
		}
	}
	f(Options{}, map[string]string{"Content-Type": "application/x-protobuf", "Content-Encoding": "", "X-Scope-OrgID": "", "Authorization": ""})
	f(Options{Encoding: JSON}, map[string]string{"Content-Type": "application/json", "Content-Encoding": "gzip"})
	f(Options{Tenant: "team/{compose_project}", Client: httpclient.Options{
		BearerToken: "token", UserAgent: "log_capturer/1", Headers: map[string]string{"X-A": "b"},
	}}, map[string]string{"X-Scope-OrgID": "team_shop", "Authorization": "Bearer token", "User-Agent": "log_capturer/1", "X-A": "b"})
}

// An attempt that follows a failed one sends the same bytes without encoding
// them again.
func TestBodyIsKeptForTheNextAttempt(t *testing.T) {
	loki := startLoki(t, lokitest.Options{Keep: true, Fault: only(lokitest.Fault{Status: 500}, 0)})
	s := newSink(t, Options{URL: loki.URL(), StreamsPerPush: 1})
	req := requestOf(batchOf(web, at(1, "a"), at(2, "b")))
	if err := s.Send(t.Context(), req); kind(err) != "transient" || !req.Encoded {
		t.Fatalf("first attempt: %v, encoded %t", err, req.Encoded)
	}
	body := slices.Clone(req.Body)
	// The records change behind the request's back: this must not be seen.
	req.Parts[0].To = 1
	if err := s.Send(t.Context(), req); err != nil || !slices.Equal(req.Body, body) || len(loki.Entries()) != 2 {
		t.Errorf("second attempt: %v, %d entries", err, len(loki.Entries()))
	}
	// The delivery splits: another body.
	req.Encoded = false
	if err := s.Send(t.Context(), req); err != nil || len(loki.Entries()) != 3 {
		t.Errorf("after a split: %v, %d entries", err, len(loki.Entries()))
	}
}

// deliver does what the delivery does with a permanent error, and returns the
// refused records as index:reason, and the number of attempts.
func deliver(t *testing.T, s *Sink, req *delivery.Request) (refused []string, attempts int) {
	t.Helper()
	part := req.Parts[0]
	if len(req.Parts) != 1 {
		t.Fatal("deliver takes requests of one part")
	}
	err := s.Send(t.Context(), req)
	attempts = 1
	if p, ok := errors.AsType[*delivery.PartialError](err); ok {
		for _, r := range p.Refused {
			refused = append(refused, fmt.Sprintf("%d:%s", part.From+r.Index, r.Reason))
		}
		return refused, attempts
	}
	permanent, ok := errors.AsType[*delivery.PermanentError](err)
	switch {
	case err == nil:
		return nil, attempts
	case !ok:
		t.Fatal(err)
	case part.To-part.From == 1:
		return []string{fmt.Sprintf("%d:%s", part.From, permanent.Reason)}, attempts
	}
	for _, half := range [][2]int{{part.From, (part.From + part.To) / 2}, {(part.From + part.To) / 2, part.To}} {
		p := part
		p.From, p.To = half[0], half[1]
		more, n := deliver(t, s, &delivery.Request{Parts: []delivery.Part{p}})
		refused = append(refused, more...)
		attempts += n
	}
	return refused, attempts
}

// A refused record costs only itself, whatever Loki tells of it, and in the end
// the good ones are there once.
func TestRefusals(t *testing.T) {
	const n = 64
	now := time.Now().Truncate(time.Second)
	// Line i is written i seconds from now, and is i bytes long.
	recs := func() []rec {
		var all []rec
		for i := range n {
			all = append(all, at(now.Add(time.Duration(i)*time.Second).UnixNano(), strings.Repeat("x", i)))
		}
		return all
	}
	f := func(name string, limits lokitest.Limits, first []rec, bad map[int]string, maxAttempts int) {
		t.Helper()
		loki := startLoki(t, lokitest.Options{Keep: true, Deduplicate: true, Limits: limits})
		s := newSink(t, Options{URL: loki.URL(), StreamsPerPush: 1})
		if len(first) > 0 {
			if err := s.Send(t.Context(), requestOf(batchOf(web, first...))); err != nil {
				t.Fatal(err)
			}
		}
		refused, attempts := deliver(t, s, requestOf(batchOf(web, recs()...)))
		var want, wantLines []string
		for i, r := range recs() {
			if reason, ok := bad[i]; ok {
				want = append(want, fmt.Sprintf("%d:%s", i, reason))
			} else {
				wantLines = append(wantLines, r.line)
			}
		}
		if !slices.Equal(refused, want) {
			t.Errorf("%s: refused %q, want %q", name, refused, want)
		}
		got := linesOf(loki.Entries()[len(first):])
		slices.SortFunc(got, func(a, b string) int { return len(a) - len(b) })
		if !slices.Equal(got, wantLines) {
			t.Errorf("%s: %d lines are kept, want %d", name, len(got), len(wantLines))
		}
		if attempts > maxAttempts {
			t.Errorf("%s: %d attempts, want at most %d", name, attempts, maxAttempts)
		}
	}
	from := func(from, to int, reason string) map[int]string {
		bad := map[int]string{}
		for i := from; i < to; i++ {
			bad[i] = reason
		}
		return bad
	}
	both := from(0, 5, "too_old")
	for i, reason := range from(60, n, "line_too_long") {
		both[i] = reason
	}
	newest := at(now.Add(time.Hour).UnixNano(), "newest")
	refuse := func(_ string, _ int64, line []byte) error {
		if len(line) == 17 {
			return errors.New("a reason of the future")
		}
		return nil
	}

	f("none", lokitest.Limits{}, nil, nil, 1)
	// Of one error Loki's text is the same whether it is the only one or the
	// last of many: the request is split.
	f("one too long", lokitest.Limits{MaxLineBytes: n - 2}, nil, from(n-1, n, "line_too_long"), 13)
	f("some too long", lokitest.Limits{MaxLineBytes: 50}, nil, from(51, n, "line_too_long"), 1)
	f("some too old", lokitest.Limits{Oldest: now.Add(5 * time.Second)}, nil, from(0, 5, "too_old"), 1)
	f("all too old", lokitest.Limits{Oldest: now.Add(time.Hour)}, nil, from(0, n, "too_old"), 1)
	f("both", lokitest.Limits{Oldest: now.Add(5 * time.Second), MaxLineBytes: 59}, nil, both, 1)
	f("some behind", lokitest.Limits{MaxBehind: time.Hour - 5*time.Second}, []rec{newest}, from(0, 5, "too_far_behind"), 1)
	// The ingester lists ten at most.
	f("many behind", lokitest.Limits{MaxBehind: time.Hour - 40*time.Second}, []rec{newest}, from(0, 40, "too_far_behind"), 10)
	f("all behind", lokitest.Limits{MaxBehind: time.Second}, []rec{newest}, from(0, n, "too_far_behind"), 1)
	// The ingester's list hides the distributor's.
	hidden := from(0, 3, "too_far_behind")
	hidden[63] = "line_too_long"
	f("behind and too long", lokitest.Limits{MaxBehind: time.Hour - 3*time.Second, MaxLineBytes: 62}, []rec{newest}, hidden, 30)
	f("unknown", lokitest.Limits{Refuse: refuse}, nil, from(17, 18, "bad_request"), 13)
}

// With one stream a push, what Loki hides of pushes of several can't happen.
func TestHiddenRefusals(t *testing.T) {
	now := time.Now()
	other := &record.Source{ContainerName: "zz-last"}
	send := func(streamsPerPush int) (acknowledged, stored int) {
		t.Helper()
		loki := startLoki(t, lokitest.Options{Keep: true, Limits: lokitest.Limits{MaxBehind: time.Minute}})
		s := newSink(t, Options{URL: loki.URL(), StreamsPerPush: streamsPerPush})
		old, newer := at(now.Add(-time.Hour).UnixNano(), "old"), at(now.UnixNano(), "newer")
		reqs := map[string]*delivery.Request{}
		var order []string
		for _, b := range []*record.Batch{batchOf(web, newer, old), batchOf(other, newer)} {
			key := s.Group(b.Source, record.Stdout)
			if reqs[key] == nil {
				reqs[key] = requestOf()
				order = append(order, key)
			}
			reqs[key].Parts = append(reqs[key].Parts, requestOf(b).Parts...)
		}
		for _, key := range order {
			err := s.Send(t.Context(), reqs[key])
			acknowledged += reqs[key].Len()
			if p, ok := errors.AsType[*delivery.PartialError](err); ok {
				acknowledged -= len(p.Refused)
			} else if err != nil {
				t.Fatal(err)
			}
		}
		return acknowledged, loki.Stats().Entries
	}
	if acknowledged, stored := send(1); acknowledged != 2 || stored != 2 {
		t.Errorf("one stream a push: %d acknowledged, %d stored, want 2 of 3", acknowledged, stored)
	}
	// This is Loki's own behaviour, and why 1 is the safe setting.
	if acknowledged, stored := send(0); acknowledged != 3 || stored != 2 {
		t.Errorf("any number: %d acknowledged, %d stored; the endpoint no longer does what Loki does", acknowledged, stored)
	}
}

// Many requests in every way of failing leave no connection behind.
func TestNothingLeaks(t *testing.T) {
	faults := []lokitest.Fault{
		{Status: 204}, {Status: 500, Body: strings.Repeat("x", 100_000)}, {Status: 413, Early: true}, {CutBody: true},
		{CutAnswer: true}, {Status: 400, Body: "no"}, {Hang: true}, {Status: 302},
	}
	loki := startLoki(t, lokitest.Options{Fault: func(n int, _ *http.Request) (lokitest.Fault, bool) {
		return faults[n%len(faults)], true
	}})
	s := newSink(t, Options{URL: loki.URL(), StreamsPerPush: 1, Client: httpclient.Options{Timeout: 50 * time.Millisecond, MaxIdleConns: 1}})
	for range 10 * len(faults) {
		_ = s.Send(t.Context(), requestOfLines(2000)) // Each fails in its own way.
	}
	eventually(t, "at most one connection is kept", func() bool { return loki.Connections() <= 1 })
	s.Close()
	eventually(t, "none is kept after Close", func() bool { return loki.Connections() == 0 })
}

// A check pushes nothing, and says what a push would meet with.
func TestCheck(t *testing.T) {
	for _, encoding := range []Encoding{Protobuf, JSON} {
		f := func(want string, o lokitest.Options) {
			t.Helper()
			server, err := lokitest.Start(o)
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			sink, err := New(Options{URL: server.URL(), Encoding: encoding, Labels: map[string]string{"job": "x"}})
			if err != nil {
				t.Fatal(err)
			}
			defer sink.Close()
			err = sink.Check(t.Context())
			if got := fmt.Sprint(err); !strings.Contains(got, want) {
				t.Errorf("%s: %s, want %s", encoding, got, want)
			}
			if violations := server.Violations(); len(violations) > 0 {
				t.Errorf("violations: %q", violations)
			}
			if stats := server.Stats(); stats.Entries > 0 || stats.Requests != 1 {
				t.Errorf("stats %+v", stats)
			}
		}
		f("<nil>", lokitest.Options{})
		fails := func(status int) lokitest.Options {
			return lokitest.Options{Fault: func(int, *http.Request) (lokitest.Fault, bool) { return lokitest.Fault{Status: status}, true }}
		}
		f("check the sink's credentials", fails(http.StatusUnauthorized))
		f("503", fails(http.StatusServiceUnavailable))
		f("400", fails(http.StatusBadRequest))
	}
}
