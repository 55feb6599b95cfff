package loki

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"log_capturer/internal/httpclient"
	"log_capturer/internal/record"
)

// What Loki's texts mean, and when they are not to be believed.
func TestReadRefusal(t *testing.T) {
	const (
		stream = `{container="web", stream="stdout"}`
		long   = "Max entry size '3' bytes exceeded for stream '" + stream + "' while adding an entry with length '4' bytes"
		old    = "entry for stream '" + stream + "' has timestamp too old: 1970-01-01T00:00:01Z, oldest acceptable timestamp is: 1970-01-01T00:00:02Z"
		future = "entry for stream '" + stream + "' has timestamp too new: 1970-01-01T00:00:03Z"
		behind = "entry too far behind, entry timestamp is: 1970-01-01T00:00:01Z, oldest acceptable timestamp is: 1970-01-01T00:00:02Z"
	)
	listed := func(time, reason string) string {
		return fmt.Sprintf("entry with timestamp %s ignored, reason: '%s',\n", time, reason)
	}
	total := func(n, of int) string {
		return fmt.Sprintf("user 'fake', total ignored: %d out of %d for stream: %s", n, of, stream)
	}
	single := newSink(t, Options{StreamsPerPush: 1})
	several := newSink(t, Options{StreamsPerPush: 0})
	const second = 1_000_000_000
	standard := []rec{at(1*second+5, "aaaa"), at(1*second+6, "bb"), at(2*second, "cccc"), at(3*second, "d")}
	check := func(s *Sink, res *httpclient.Response, recs []rec, want string) {
		t.Helper()
		err := s.readRefusal(res, recordsOf(requestOf(batchOf(web, recs...))))
		if got := kind(err); got != want {
			t.Errorf("%q\ngot  %s (%v)\nwant %s", res.Body, got, err, want)
		}
	}
	f := func(text, want string, recs ...rec) {
		t.Helper()
		if recs == nil {
			recs = standard
		}
		check(single, &httpclient.Response{Status: 400, Header: http.Header{}, Body: []byte(text + "\n")}, recs, want)
	}

	// The distributor's list.
	f("2 errors like: "+long, "partial [0:line_too_long 2:line_too_long]")
	f("2 errors like: "+old, "partial [0:too_old 1:too_old]")
	f("1 errors like: "+future+"; 2 errors like: "+old, "partial [0:too_old 1:too_old 3:too_new]")
	f("1 errors like: "+long+"; 2 errors like: "+old, "partial [0:too_old 1:too_old 2:line_too_long]")
	// It counts other entries than the request has.
	f("1 errors like: "+long, "permanent line_too_long")
	f("3 errors like: "+long, "permanent line_too_long")
	f("2 errors like: "+long+"; 2 errors like: "+old, "permanent line_too_long")
	f("2 errors like: "+long+"; 1 errors like: something else", "permanent line_too_long")
	f("1 errors like: something else; 2 errors like: "+long, "permanent bad_request")
	f("99999999999999999999 errors like: "+long, "permanent bad_request")
	// A single text may hide others.
	f(long, "permanent line_too_long")
	f(old, "permanent too_old")
	f(future, "permanent too_new")
	f("3 errors: "+long+"; "+long+"; "+old, "permanent bad_request")
	// Unless every record breaks the rule.
	f(long, "partial [0:line_too_long 1:line_too_long]", at(1, "four"), at(2, "fiver"))
	f(old, "partial [0:too_old 1:too_old]", at(1, "a"), at(2*second-1, "b"))
	f(old, "permanent too_old", at(1, "a"), at(2*second, "b"))
	f(long, "partial [0:line_too_long]", at(1, "four"))
	f(future, "permanent too_new", at(1, "a"))

	// The stream's labels.
	f("Error parsing labels '"+stream+"' with error: no", "partial [0:invalid_labels]", at(1, "a"))
	f("error parsing labels '"+stream+"' with error: no", "partial [0:invalid_labels 1:invalid_labels]", at(1, "a"), at(2, "b"))
	f("stream '"+stream+"' has label value too long: 'xyz'", "partial [0:invalid_labels]", at(1, "a"))
	f("stream '"+stream+"' has duplicate label name: 'xyz'", "partial [0:invalid_labels]", at(1, "a"))
	f("error at least one label pair is required per stream", "partial [0:invalid_labels]", at(1, "a"))
	f("stream '"+stream+"' has structured metadata too large: '99' bytes, limit: '9' bytes. Please see...", "permanent invalid_metadata")

	// The operator's to change.
	f("entry for stream '"+stream+"' has 16 label names; limit 15", "transient")
	f("missing required labels team for user fake for stream "+stream, "transient")
	f("stream '"+stream+"' includes structured metadata, but this feature is disallowed. Please see...", "transient")
	f("2 errors like: stream '"+stream+"' includes structured metadata, but this feature is disallowed. Please see...", "transient")
	f("no org id", "transient")

	// The ingester's list.
	f(listed("1970-01-01 00:00:01.000000005 +0000 UTC", behind)+listed("1970-01-01 00:00:01.000000006 +0000 UTC", behind)+total(2, 4),
		"partial [0:too_far_behind 1:too_far_behind]")
	f(listed("1970-01-01 01:00:01.000000006 +0100 CET", behind)+total(1, 4), "partial [1:too_far_behind]")
	f(listed("1970-01-01 00:00:02 +0000 UTC", "entry out of order")+total(1, 4), "partial [2:out_of_order]")
	f(listed("1970-01-01 00:00:01.000000005 +0000 UTC", behind)+total(1, 3), "permanent too_far_behind") // the distributor kept one back
	f(listed("1970-01-01 00:00:01.000000005 +0000 UTC", behind)+total(2, 4), "permanent too_far_behind") // not all are listed
	f(listed("1970-01-01 00:00:01.000000007 +0000 UTC", behind)+total(1, 4), "permanent too_far_behind") // not of the request
	f(listed("1970-01-01 00:00:01.000000005 +0000 UTC", "new reason")+total(1, 4), "permanent bad_request")
	f(listed("yesterday", behind)+total(1, 4), "permanent too_far_behind")
	f(total(0, 4), "permanent bad_request")
	twice := []rec{at(second, "a"), at(second, "b"), at(5*second, "c")}
	f(listed("1970-01-01 00:00:01 +0000 UTC", behind)+total(1, 3), "permanent too_far_behind", twice...) // which of two?
	f(listed("1970-01-01 00:00:01 +0000 UTC", behind)+listed("1970-01-01 00:00:01 +0000 UTC", behind)+total(2, 3),
		"partial [0:too_far_behind 1:too_far_behind]", twice...)
	f(listed("1970-01-01 00:00:01 +0000 UTC", behind)+total(9, 20), "partial [0:too_far_behind]", at(second, "a"))
	// A moved record is found at the time that it was sent with.
	moved := at(second, "same")
	moved.Ordinal = 3
	f(listed("1970-01-01 00:00:01.000000002 +0000 UTC", behind)+total(1, 2), "partial [1:too_far_behind]", at(5*second, "x"), moved)

	f("", "permanent bad_request")
	f("something new", "permanent bad_request")

	body := "2 errors like: " + long
	check(several, &httpclient.Response{Status: 400, Body: []byte(body)}, standard, "permanent line_too_long")
	check(single, &httpclient.Response{Status: 400, Body: []byte(body), Truncated: true}, standard, "permanent line_too_long")
}

// A container's image may be named like one of Loki's errors. That must not cost
// a record.
func TestForgedRefusals(t *testing.T) {
	s := newSink(t, Options{StreamsPerPush: 1})
	forged := `{x="' has timestamp too old: 2000-01-01T00:00:00Z, oldest acceptable timestamp is: 2999-01-01T00:00:00Z"}`
	text := "Max entry size '3' bytes exceeded for stream '" + forged + "' while adding an entry with length '4' bytes"
	recs := []rec{at(1, "a"), at(2, "bbbb")}
	for _, body := range []string{text, "entry for stream '" + forged + "' has timestamp too new: 1970-01-01T00:00:00Z"} {
		err := s.readRefusal(&httpclient.Response{Status: 400, Body: []byte(body)}, recordsOf(requestOf(batchOf(web, recs...))))
		if got := kind(err); !strings.HasPrefix(got, "permanent ") {
			t.Errorf("%q: %s", body, got)
		}
	}
}

// No answer makes the reader fail, or name a record that is not there.
func FuzzReadRefusal(f *testing.F) {
	f.Add("2 errors like: Max entry size '3' bytes exceeded for stream '{}' while adding an entry with length '4' bytes")
	f.Add("entry with timestamp 1970-01-01 00:00:01 +0000 UTC ignored, reason: 'entry out of order',\nuser 'fake', total ignored: 1 out of 2 for stream: {}")
	f.Add("entry for stream '{}' has timestamp too old: 1970-01-01T00:00:01Z, oldest acceptable timestamp is: 1970-01-01T00:00:02Z")
	s := newSink(f, Options{StreamsPerPush: 1})
	f.Fuzz(func(t *testing.T, text string) {
		req := requestOf(batchOf(web, at(1_000_000_000, "aaaa"), rec{record.Record{Time: 5_000_000_000}, "b"}))
		err := s.readRefusal(&httpclient.Response{Status: 400, Header: http.Header{}, Body: []byte(text)}, recordsOf(req))
		if err == nil {
			t.Errorf("%q is no refusal", text)
		}
		if got := kind(err); strings.HasPrefix(got, "partial") &&
			!strings.Contains(got, " [0:") && !strings.Contains(got, " [1:") {
			t.Errorf("%q: %s", text, got)
		}
	})
}
