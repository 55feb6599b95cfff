package lokitest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Limits are rules by which entries are refused, each alone, while the others
// of their push are stored. The texts are Loki's (its pkg/validation, and
// pkg/ingester/stream.go).
type Limits struct {
	// MaxLineBytes is the longest line; zero for any.
	MaxLineBytes int
	// Oldest is the time before which entries are too old; zero for any.
	Oldest time.Time
	// MaxBehind is how far an entry may be behind the newest one of its stream;
	// zero for any.
	MaxBehind time.Duration
	// Refuse refuses entries for any other reason, with its error as the text.
	Refuse func(labels string, ts int64, line []byte) error
}

// check applies the distributor's rules.
func (l Limits) check(labels string, e *entry) error {
	if !l.Oldest.IsZero() && e.time < l.Oldest.UnixNano() {
		return fmt.Errorf("entry for stream '%s' has timestamp too old: %s, oldest acceptable timestamp is: %s",
			labels, time.Unix(0, e.time).UTC().Format(time.RFC3339), l.Oldest.UTC().Format(time.RFC3339))
	}
	if l.MaxLineBytes > 0 && len(e.line) > l.MaxLineBytes {
		return fmt.Errorf("Max entry size '%d' bytes exceeded for stream '%s' while adding an entry with length '%d' bytes", //nolint:staticcheck // Loki's text
			l.MaxLineBytes, labels, len(e.line))
	}
	if l.Refuse != nil {
		return l.Refuse(labels, e.time, e.line)
	}
	return nil
}

// checkOrder applies the ingester's rule to an entry of a stream whose newest
// entry is of the time highest.
func (l Limits) checkOrder(highest, ts int64) error {
	cutoff := highest - int64(l.MaxBehind)
	if l.MaxBehind == 0 || ts >= cutoff {
		return nil
	}
	return fmt.Errorf("entry too far behind, entry timestamp is: %s, oldest acceptable timestamp is: %s",
		time.Unix(0, ts).UTC().Format(time.RFC3339), time.Unix(0, cutoff).UTC().Format(time.RFC3339))
}

// groupedErrors are the distributor's errors by text.
type groupedErrors struct{ counts map[string]int }

// filter returns the entries that pass, in place.
func (g *groupedErrors) filter(l Limits, labels string, entries []entry) []entry {
	return slices.DeleteFunc(entries, func(e entry) bool {
		err := l.check(labels, &e)
		if err == nil {
			return false
		}
		if g.counts == nil {
			g.counts = map[string]int{}
		}
		g.counts[err.Error()]++
		return true
	})
}

// String returns the distributor's answer.
func (g *groupedErrors) String() string {
	var b bytes.Buffer
	for _, text := range slices.Sorted(maps.Keys(g.counts)) {
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		if n := g.counts[text]; n > 1 || len(g.counts) > 1 {
			fmt.Fprintf(&b, "%d errors like: ", n)
		}
		b.WriteString(text)
	}
	return b.String()
}

type refusedEntry struct {
	time int64
	err  error
}

// maxReturnedErrors is how many refused entries the ingester lists.
const maxReturnedErrors = 10

// ingesterText returns the ingester's answer.
func ingesterText(refused []refusedEntry, total int, tenant, labels string) string {
	if tenant == "" {
		tenant = "fake" // the tenant of a Loki without tenants
	}
	var b bytes.Buffer
	for _, r := range refused[:min(len(refused), maxReturnedErrors)] {
		fmt.Fprintf(&b, "entry with timestamp %s ignored, reason: '%s',\n", time.Unix(0, r.time).UTC(), r.err)
	}
	fmt.Fprintf(&b, "user '%s', total ignored: %d out of %d for stream: %s", tenant, len(refused), total, labels)
	return b.String()
}
