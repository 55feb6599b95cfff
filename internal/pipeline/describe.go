package pipeline

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Describe returns what is known of an event, one thing a line, in the form
// that tests of pipelines are written in.
func Describe(e *Event, sinks []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "line: %s\n", shown(string(e.Line)))
	if e.Time != e.Captured {
		fmt.Fprintf(&b, "time: %s\n", shownTime(e.Time))
	}
	if e.Level != NoLevel {
		fmt.Fprintf(&b, "level: %s\n", e.Level)
	}
	for _, f := range e.Fields {
		fmt.Fprintf(&b, "fields.%s: %s\n", f.Name, shownValue(f.Value))
	}
	for _, l := range e.Labels {
		fmt.Fprintf(&b, "label.%s: %s\n", l.Name, shown(l.Value))
	}
	if e.Sinks != 0 {
		fmt.Fprintf(&b, "sinks: %s\n", strings.Join(e.Sinks.Names(sinks), ", "))
	}
	if e.Count > 1 {
		fmt.Fprintf(&b, "records: %d\n", e.Count)
	}
	return b.String()
}

// Names returns the names of the sinks in the set.
func (s SinkSet) Names(sinks []string) []string {
	var names []string
	for i, name := range sinks {
		if s.Has(i) {
			names = append(names, name)
		}
	}
	return names
}

// shown returns text as it is where it fits on one line and cannot be taken for
// something else, and in quotes otherwise.
func shown(text string) string {
	if text == "" || text != strings.TrimSpace(text) || text[0] == '"' || strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}

func shownValue(v Value) string {
	if v.Kind == Text {
		return shown(v.Text)
	}
	return v.Text + " (" + v.Kind.String() + ")"
}

func shownTime(nanoseconds int64) string {
	return time.Unix(0, nanoseconds).UTC().Format(time.RFC3339Nano)
}

// changes returns what is different in after, one thing a line.
func changes(before, after *Event, sinks []string) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if string(before.Line) != string(after.Line) {
		add("~ line = %s", shown(string(after.Line)))
	}
	if before.Time != after.Time {
		add("~ time = %s", shownTime(after.Time))
	}
	if before.Level != after.Level {
		add("~ level = %s", after.Level)
	}
	for _, f := range after.Fields {
		switch old, ok := before.Get(f.Name); {
		case !ok:
			add("+ fields.%s = %s", f.Name, shownValue(f.Value))
		case old != f.Value:
			add("~ fields.%s = %s", f.Name, shownValue(f.Value))
		}
	}
	for _, f := range before.Fields {
		if _, ok := after.Get(f.Name); !ok {
			add("- fields.%s", f.Name)
		}
	}
	for _, l := range after.Labels {
		if !slices.Contains(before.Labels, l) {
			add("+ label.%s = %s", l.Name, shown(l.Value))
		}
	}
	for _, l := range before.Labels {
		if !slices.ContainsFunc(after.Labels, func(o Label) bool { return o.Name == l.Name }) {
			add("- label.%s", l.Name)
		}
	}
	if before.Sinks != after.Sinks {
		add("~ sinks = %s", strings.Join(after.Sinks.Names(sinks), ", "))
	}
	return out
}

// Explainer tells of each event stage by stage what becomes of it.
type Explainer struct {
	w      io.Writer
	p      *Pipeline
	sinks  []string
	before []Event
	// at holds for each stage whether an event is in it.
	at []bool
	// failed says that the stage that spoke last has failed, and goes on.
	failed bool
}

// NewExplainer returns one that writes to w. The sinks are the configured names.
func NewExplainer(w io.Writer, p *Pipeline, sinks []string) *Explainer {
	return &Explainer{w: w, p: p, sinks: sinks, before: make([]Event, p.Len()), at: make([]bool, p.Len())}
}

// Observer returns what a run of the pipeline is to be watched by.
func (x *Explainer) Observer() *Observer {
	return &Observer{
		Before: func(i int, e *Event, skipped bool) {
			if skipped {
				x.say(i, "skipped: its condition is false")
				return
			}
			x.before[i].copyFrom(e)
			x.at[i] = true
		},
		After: func(i int, e *Event) {
			before := &x.before[i]
			if !x.at[i] || e.After.Seq != before.After.Seq || e.Count != before.Count {
				x.say(i, append([]string{"sends on what it held:"}, indent(Describe(e, x.sinks))...)...)
				if e.After.Seq == before.After.Seq {
					x.at[i] = false
				}
				return
			}
			x.at[i] = false
			lines := changes(before, e, x.sinks)
			if len(lines) == 0 {
				lines = []string{"passes it on unchanged"}
			}
			x.say(i, lines...)
		},
		Failed: func(i int, err error) {
			x.say(i, "failed: "+err.Error())
			x.failed = true
		},
		Dropped: func(i int, _ *Event, reason string) {
			x.at[i] = false
			x.say(i, "dropped: "+reason)
		},
	}
}

func indent(text string) []string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i := range lines {
		lines[i] = "  " + lines[i]
	}
	return lines
}

// Held tells of the stages that hold the last event back. It is called when
// Process has returned.
func (x *Explainer) Held() {
	for i := range x.at {
		if x.at[i] {
			x.say(i, "holds it until it knows what follows")
			x.at[i] = false
		}
	}
}

func (x *Explainer) say(i int, lines ...string) {
	if !x.failed {
		fmt.Fprintf(x.w, "  %2d %-12s %s\n", i+1, x.p.StageName(i), lines[0])
		lines = lines[1:]
	}
	x.failed = false
	for _, line := range lines {
		fmt.Fprintf(x.w, "  %15s %s\n", "", line)
	}
}
