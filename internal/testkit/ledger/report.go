package ledger

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"log_capturer/internal/record"
)

// namedLimit is how many lines a finding names.
const namedLimit = 5

// finding is a number of lines with something wrong, and the first few names.
type finding struct {
	n     uint64
	named []string
}

func (f *finding) add(name func() string) {
	f.n++
	if len(f.named) < namedLimit {
		f.named = append(f.named, name())
	}
}

// Report is a ledger's verdict.
type Report struct {
	// Observed is how many lines arrived in all, Distinct how many different
	// whole ones of them, end lines not included.
	Observed, Distinct uint64
	// Missing lines were written and did not arrive. Repeated ones arrived
	// again, Disordered ones after a later line of their stream. Corrupt ones
	// are damaged, Misplaced ones arrived as of another stream, Unexpected ones
	// have a number, run or container that nobody wrote, and Foreign ones are
	// no numbered lines at all.
	Missing, Repeated, Disordered, Corrupt, Misplaced, Unexpected, Foreign uint64

	details []string
}

// OK reports whether every line arrived once, whole and in order, and nothing
// else did.
func (r *Report) OK() bool { return r.Repeated == 0 && r.OKButRepeated() }

// OKButRepeated is OK for a destination that may see lines again.
func (r *Report) OKButRepeated() bool {
	return r.Missing+r.Disordered+r.Corrupt+r.Misplaced+r.Unexpected+r.Foreign == 0
}

// String returns the numbers, and a line for each stream with something wrong.
func (r *Report) String() string {
	return fmt.Sprintf("%d observed, %d distinct: %d missing, %d repeated, %d out of order, %d corrupt, %d misplaced, %d unexpected, %d foreign%s",
		r.Observed, r.Distinct, r.Missing, r.Repeated, r.Disordered, r.Corrupt, r.Misplaced, r.Unexpected, r.Foreign,
		strings.Join(append([]string{""}, r.details...), "\n  "))
}

// Check compares what arrived with what was written.
func (l *Ledger) Check() *Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &Report{Observed: l.observed}
	r.note(&r.Foreign, "", "foreign", l.foreign)
	for container, runs := range l.containers {
		for name, run := range runs {
			for s := range run.streams {
				where := fmt.Sprintf("%.12s %s %v", container, name, record.Stream(s))
				r.judge(where, &run.streams[s])
			}
		}
	}
	slices.SortFunc(r.details, cmp.Compare[string])
	return r
}

// judge adds the findings of one stream.
func (r *Report) judge(where string, t *track) {
	r.Distinct += t.distinct()
	r.note(&r.Missing, where, "missing", t.missing())
	r.note(&r.Repeated, where, "repeated", t.repeated)
	r.note(&r.Disordered, where, "out of order", t.disorder)
	r.note(&r.Corrupt, where, "corrupt", t.corrupt)
	r.note(&r.Misplaced, where, "misplaced", t.misplaced)
	var unexpected finding
	switch highest := max(t.last, t.endN); {
	case !t.expected && !t.end && t.observed > 0:
		unexpected.n = t.observed
		unexpected.named = []string{"nothing was expected of it"}
	case t.expected && highest > t.max:
		unexpected.n = highest - t.max
		unexpected.named = []string{fmt.Sprintf("%d, at most %d were written", highest, t.max)}
	}
	r.note(&r.Unexpected, where, "unexpected", unexpected)
}

// note adds a finding to a total and to the details.
func (r *Report) note(total *uint64, where, what string, f finding) {
	if f.n == 0 {
		return
	}
	*total += f.n
	more := ""
	if f.n > uint64(len(f.named)) {
		more = ", …"
	}
	r.details = append(r.details, strings.TrimSpace(fmt.Sprintf("%s: %d %s: %s%s", where, f.n, what, strings.Join(f.named, ", "), more)))
}
