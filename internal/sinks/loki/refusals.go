package loki

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"log_capturer/internal/delivery"
	"log_capturer/internal/httpclient"
	"log_capturer/internal/record"
)

// Reasons of refusals.
const (
	reasonLineTooLong   = "line_too_long"
	reasonTooOld        = "too_old"
	reasonTooNew        = "too_new"
	reasonTooFarBehind  = "too_far_behind"
	reasonOutOfOrder    = "out_of_order"
	reasonInvalidLabels = "invalid_labels"
	reasonMetadata      = "invalid_metadata"
	reasonBadRequest    = "bad_request"
)

// Loki refuses in two places, which say so in two ways (pkg/validation and
// pkg/distributor; pkg/ingester/stream.go).
//
// The distributor checks labels and entries, passes on the good entries, and
// when these were stored answers with its own errors: the text alone when there
// was one, "3 errors like: <text>; 1 errors like: <text>" when there were more.
// Versions before 2.9 name only some of them, so that a single text says
// nothing about the entries that it does not name.
//
// The ingester refuses by time. It lists some entries, each with its time, and
// ends with how many of how many it refused. This hides what the distributor
// refused, but not that it did: the entries that came to the ingester are fewer
// than were sent.
//
// Label values stand in these texts. They could be made to look like another
// text, and a mistake would cost entries, so a text is believed only when it
// accounts for every entry by the entry's own facts.
var (
	groupPattern      = regexp.MustCompile(`(?:^|; )(\d+) errors like: `)
	longPattern       = regexp.MustCompile(`(?s)^Max entry size '(\d+)' bytes exceeded for stream '.*' while adding an entry with length '(\d+)' bytes$`)
	oldPattern        = regexp.MustCompile(`(?s)^entry for stream '.*' has timestamp too old: (\S+), oldest acceptable timestamp is: (\S+)$`)
	newPattern        = regexp.MustCompile(`(?s)^entry for stream '.*' has timestamp too new: (\S+)$`)
	labelsPattern     = regexp.MustCompile(`(?s)^(?:(?i:error parsing labels ')|error at least one label pair|stream '.*' has (?:label (?:name|value) too long|duplicate label name): ')`)
	metadataPattern   = regexp.MustCompile(`(?s)^stream '.*' has (?:structured metadata too large|too many structured metadata labels): `)
	tooManyPattern    = regexp.MustCompile(`(?s)^entry for stream '.*' has \d+ label names; limit \d+`)
	disallowedPattern = regexp.MustCompile(`(?s)^stream '.*' includes structured metadata, but this feature is disallowed`)

	listedPattern = regexp.MustCompile(`entry with timestamp ([^,']+) ignored, reason: '([^']*)',\n`)
	totalPattern  = regexp.MustCompile(`(?s)^user '[^']*', total ignored: (\d+) out of (\d+) for stream: `)
	behindPattern = regexp.MustCompile(`^entry too far behind, entry timestamp is: \S+, oldest acceptable timestamp is: (\S+)$`)
)

// ingesterTime is how Go writes a time by default, and the ingester with it.
const ingesterTime = "2006-01-02 15:04:05.999999999 -0700 MST"

// readRefusal translates a 400.
func (s *Sink) readRefusal(res *httpclient.Response, sent []*record.Record) error {
	text := strings.TrimSpace(string(res.Body))
	if hint := configurationHint(text); hint != "" {
		return res.Error(hint)
	}
	permanent := &delivery.PermanentError{
		Reason: reasonOf(text),
		Err:    &httpclient.StatusError{Status: res.Status, Message: res.Message},
	}
	// Of several streams, and of half a text, nothing is certain.
	if !s.single || res.Truncated {
		return permanent
	}
	for _, account := range []func(string, []*record.Record) ([]delivery.Refusal, bool){
		allRefused, listedByDistributor, listedByIngester,
	} {
		if refused, ok := account(text, sent); ok {
			for i := range refused {
				refused[i].Detail = res.Message
			}
			return &delivery.PartialError{Refused: refused}
		}
	}
	return permanent
}

// configurationHint recognises what is wrong with every record alike, and only
// the operator can change. Such records wait.
func configurationHint(text string) string {
	text = firstGroup(text)
	switch {
	case tooManyPattern.MatchString(text):
		return "move labels of the sink to structured_metadata, or raise max_label_names_per_series in Loki's limits"
	case disallowedPattern.MatchString(text):
		return "set allow_structured_metadata in Loki's limits, or let the sink omit its metadata"
	case strings.HasPrefix(text, "missing required labels "):
		return "Loki's enforced_labels ask for labels that the sink does not set"
	case text == "no org id", text == "multiple org IDs present", strings.HasPrefix(text, "tenant ID "):
		return "check the sink's tenant"
	default:
		return ""
	}
}

// reasonOf names the kind of a refusal.
func reasonOf(text string) string {
	text = firstGroup(text)
	switch {
	case longPattern.MatchString(text):
		return reasonLineTooLong
	case oldPattern.MatchString(text):
		return reasonTooOld
	case newPattern.MatchString(text):
		return reasonTooNew
	case labelsPattern.MatchString(text):
		return reasonInvalidLabels
	case metadataPattern.MatchString(text):
		return reasonMetadata
	}
	if listed := listedPattern.FindAllStringSubmatch(text+"\n", -1); len(listed) > 0 {
		return ingesterReason(listed[len(listed)-1][2])
	}
	return ingesterReason(text)
}

func ingesterReason(text string) string {
	switch {
	case behindPattern.MatchString(text):
		return reasonTooFarBehind
	case strings.HasPrefix(text, "entry out of order"):
		return reasonOutOfOrder
	default:
		return reasonBadRequest
	}
}

// firstGroup returns the first text of the distributor's list, or all of a text
// that is no list.
func firstGroup(text string) string {
	if groups := splitGroups(text); len(groups) > 0 {
		return groups[0].text
	}
	return text
}

type group struct {
	count int
	text  string
}

func splitGroups(text string) []group {
	at := groupPattern.FindAllStringSubmatchIndex(text, -1)
	if len(at) == 0 || at[0][0] != 0 {
		return nil
	}
	groups := make([]group, 0, len(at))
	for i, m := range at {
		end := len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		count, err := strconv.Atoi(text[m[2]:m[3]])
		if err != nil {
			return nil
		}
		groups = append(groups, group{count, text[m[1]:end]})
	}
	return groups
}

// allRefused recognises a rule that every record breaks, so that none can have
// been kept, whatever else the text leaves out.
func allRefused(text string, sent []*record.Record) ([]delivery.Refusal, bool) {
	text = firstGroup(text)
	reason := reasonOf(text)
	breaks := func(*record.Record) bool { return false }
	if m := longPattern.FindStringSubmatch(text); m != nil {
		limit, err := strconv.ParseUint(m[1], 10, 32)
		breaks = func(r *record.Record) bool { return err == nil && uint64(r.Length) > limit }
	} else if cutoff, ok := cutoffOf(text); ok {
		breaks = func(r *record.Record) bool { return sentTime(r) < cutoff }
	} else if reason == reasonInvalidLabels {
		breaks = func(*record.Record) bool { return true }
	}
	var refused []delivery.Refusal
	for _, rec := range sent {
		if !breaks(rec) {
			return nil, false
		}
		refused = append(refused, delivery.Refusal{Index: len(refused), Reason: reason})
	}
	return refused, true
}

// cutoffOf returns the time before which every entry is refused, in nanoseconds
// since the Unix epoch. Loki rounds it down to the second.
func cutoffOf(text string) (int64, bool) {
	if m := oldPattern.FindStringSubmatch(text); m != nil {
		return parseSecond(m[2])
	}
	if listed := listedPattern.FindStringSubmatch(text); listed != nil && strings.HasPrefix(text, listed[0]) {
		if m := behindPattern.FindStringSubmatch(listed[2]); m != nil {
			return parseSecond(m[1])
		}
	}
	return 0, false
}

// parseSecond returns the beginning of the second that text names.
func parseSecond(text string) (int64, bool) {
	t, err := time.Parse(time.RFC3339, text)
	return t.UnixNano(), err == nil
}

// ledger marks the refused records of a push.
type ledger struct {
	sent    []*record.Record
	reasons []string
	refused int
}

func newLedger(sent []*record.Record) *ledger {
	return &ledger{sent: sent, reasons: make([]string, len(sent))}
}

// mark marks the unmarked records that match, and reports whether they are
// exactly count.
func (l *ledger) mark(count int, reason string, match func(*record.Record) bool) bool {
	marked := 0
	for i, rec := range l.sent {
		if l.reasons[i] == "" && match(rec) {
			l.reasons[i] = reason
			marked++
		}
	}
	l.refused += marked
	return marked == count
}

func (l *ledger) refusals() []delivery.Refusal {
	refused := make([]delivery.Refusal, 0, l.refused)
	for i, reason := range l.reasons {
		if reason != "" {
			refused = append(refused, delivery.Refusal{Index: i, Reason: reason})
		}
	}
	return refused
}

// listedByDistributor reads a list of all of the distributor's errors. It is
// complete, and the rest was kept, when for each group as many records as it
// counts have the fact that it names: the length, or the second.
func listedByDistributor(text string, sent []*record.Record) ([]delivery.Refusal, bool) {
	groups := splitGroups(text)
	if len(groups) == 0 {
		return nil, false
	}
	ledger := newLedger(sent)
	// An entry is refused for the first rule that it breaks. Times come first.
	var long []group
	for _, g := range groups {
		reason := reasonOf(g.text)
		var named string
		if m := oldPattern.FindStringSubmatch(g.text); m != nil {
			named = m[1]
		} else if m := newPattern.FindStringSubmatch(g.text); m != nil {
			named = m[1]
		} else if longPattern.MatchString(g.text) {
			long = append(long, g)
			continue
		}
		second, ok := parseSecond(named)
		inSecond := func(r *record.Record) bool { return sentTime(r) >= second && sentTime(r) < second+1e9 }
		if !ok || !ledger.mark(g.count, reason, inSecond) {
			return nil, false
		}
	}
	for _, g := range long {
		m := longPattern.FindStringSubmatch(g.text)
		limit, errLimit := strconv.ParseUint(m[1], 10, 32)
		length, errLength := strconv.ParseUint(m[2], 10, 32)
		if errLimit != nil || errLength != nil || length <= limit {
			return nil, false
		}
		ofLength := func(r *record.Record) bool { return uint64(r.Length) == length }
		if !ledger.mark(g.count, reasonLineTooLong, ofLength) {
			return nil, false
		}
	}
	return ledger.refusals(), true
}

// listedByIngester reads the ingester's list. It is complete, and the rest was
// kept, when it lists as many entries as were refused, out of as many as were
// sent, and each time that it lists is that of as many records.
func listedByIngester(text string, sent []*record.Record) ([]delivery.Refusal, bool) {
	byTime := map[int64]int{}
	reasons := map[int64]string{}
	listed := 0
	for {
		m := listedPattern.FindStringSubmatch(text)
		if m == nil || !strings.HasPrefix(text, m[0]) {
			break
		}
		t, err := time.Parse(ingesterTime, m[1])
		reason := ingesterReason(m[2])
		if err != nil || reason == reasonBadRequest {
			return nil, false
		}
		byTime[t.UnixNano()]++
		reasons[t.UnixNano()] = reason
		listed++
		text = text[len(m[0]):]
	}
	m := totalPattern.FindStringSubmatch(text)
	if m == nil || m[1] != fmt.Sprint(listed) || m[2] != fmt.Sprint(len(sent)) {
		return nil, false
	}
	ledger := newLedger(sent)
	for t, count := range byTime {
		atTime := func(r *record.Record) bool { return sentTime(r) == t }
		if !ledger.mark(count, reasons[t], atTime) {
			return nil, false
		}
	}
	return ledger.refusals(), listed > 0
}
