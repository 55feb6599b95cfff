package positions

import (
	"log/slog"
	"time"
)

// warner logs an error that repeats at most once per interval, and its end.
type warner struct {
	log   *slog.Logger
	every time.Duration

	failing bool
	last    time.Time // when something was logged
	held    int       // failures that were not logged since
}

// report takes the outcome of one attempt.
func (w *warner) report(now time.Time, err error) {
	switch {
	case err == nil && w.failing:
		w.log.Info("positions_journal_recovered", "unreported_failures", w.held)
		*w = warner{log: w.log, every: w.every, last: w.last}
	case err == nil:
	case !w.failing || now.Sub(w.last) >= w.every:
		w.log.Error("positions_journal_failing", "error", err, "unreported_failures", w.held)
		w.failing, w.last, w.held = true, now, 0
	default:
		w.held++
	}
}
