package selfwatch

import (
	"fmt"
	"strings"
	"time"

	"log_capturer/internal/health"
)

// Verdict says whether something in the agent grows.
type Verdict string

// The verdicts.
const (
	// Measuring: there are not enough samples of equal load yet to judge by.
	Measuring Verdict = "measuring"
	// Steady: nothing grows.
	Steady Verdict = "steady"
	// Growing: something does.
	Growing Verdict = "growing"
)

// Judgement is a verdict and what it is made from.
type Judgement struct {
	Verdict Verdict `json:"verdict"`
	// Reason says what grows and how fast, or what is waited for.
	Reason string `json:"reason"`
	// Samples are those compared, taken between From and To.
	Samples int       `json:"samples"`
	From    time.Time `json:"from,omitzero"`
	To      time.Time `json:"to,omitzero"`
	// Growth is the trend of everything that is sampled.
	Growth []Growth `json:"growth"`
}

// Judge returns the verdict on the samples so far.
func (w *Watcher) Judge() Judgement {
	trends, judged := w.history.growth()
	j := Judgement{Verdict: Steady, Growth: trends}
	j.Samples, j.From, j.To = w.history.span()
	if !judged {
		j.Growth = []Growth{}
		j.Verdict = Measuring
		j.Reason = fmt.Sprintf("%d samples so far; judged from %d on that were taken with the same number of containers", j.Samples, minSamples)
		return j
	}
	var growing []string
	for _, g := range j.Growth {
		if g.Growing {
			growing = append(growing, g.String())
		}
	}
	if len(growing) > 0 {
		j.Verdict, j.Reason = Growing, strings.Join(growing, ", ")
		return j
	}
	j.Reason = fmt.Sprintf("nothing grows, over %v", j.To.Sub(j.From).Round(time.Second))
	return j
}

// String says how fast it grows: "goroutines of stream +30.5 a minute".
func (g Growth) String() string {
	of := ""
	if g.Part != all {
		of = " of " + g.Part
	}
	switch g.Resource {
	case resourceHeap, resourceResident:
		return fmt.Sprintf("%s%s %+.1f MiB a minute", g.Resource, of, g.PerMinute/(1<<20))
	default:
		return fmt.Sprintf("%s%s %+.1f a minute", g.Resource, of, g.PerMinute)
	}
}

// Health implements health.Reporter. What grows, or does not end, costs memory
// and no lines so far.
func (w *Watcher) Health() []health.Component {
	j := w.Judge()
	c := health.Component{Name: "selfwatch", Reason: string(j.Verdict) + ": " + j.Reason}
	if j.Verdict == Growing {
		c.Status = health.Degraded
		c.Reason += "; attach /api/v1/leaks to a report of it"
	}
	if overdue := w.opts.Overdue.Current(); len(overdue) > 0 {
		c.Status = health.Degraded
		c.Reason = fmt.Sprintf("%d goroutines did not end when they were told to, the first of %s at %s; attach /api/v1/leaks to a report of it; %s",
			len(overdue), overdue[0].Component, overdue[0].At.UTC().Format(time.RFC3339), c.Reason)
	}
	return []health.Component{c}
}
