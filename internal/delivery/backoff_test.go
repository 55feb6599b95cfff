package delivery

import (
	"log/slog"
	"testing"
	"time"
)

// TestBackoff says that a pause is anywhere between nothing and a span that
// doubles with each failure, up to the largest.
func TestBackoff(t *testing.T) {
	f := func(failures int, low, high, asked, wantLow, wantHigh time.Duration) {
		t.Helper()
		shortest, longest := time.Duration(1<<62), time.Duration(0)
		for range 2000 {
			pause := backoff(failures, low, high, asked)
			shortest, longest = min(shortest, pause), max(longest, pause)
		}
		if shortest < wantLow || longest > wantHigh {
			t.Errorf("after %d failures: pauses of %v to %v, want %v to %v", failures, shortest, longest, wantLow, wantHigh)
		}
		if spread := wantHigh - wantLow; longest-shortest < spread*9/10 {
			t.Errorf("after %d failures: pauses of %v to %v do not use all of %v to %v", failures, shortest, longest, wantLow, wantHigh)
		}
	}
	f(0, time.Second, 30*time.Second, 0, 1, time.Second)
	f(1, time.Second, 30*time.Second, 0, 1, 2*time.Second)
	f(4, time.Second, 30*time.Second, 0, 1, 16*time.Second)
	f(5, time.Second, 30*time.Second, 0, 1, 30*time.Second)
	f(0, time.Second, 30*time.Second, time.Minute, time.Minute, time.Minute)
	f(5, time.Second, 30*time.Second, 10*time.Second, 10*time.Second, 30*time.Second)
	f(0, time.Minute, time.Minute, 0, 1, time.Minute)
	// However long it lasts.
	for failures := range 200 {
		f(failures+10, time.Minute, time.Hour, 0, 1, time.Hour)
	}
}

func TestRefusalLevel(t *testing.T) {
	warnings := 0
	for before := range uint64(1000) {
		if refusalLevel(before, 1) == slog.LevelWarn {
			warnings++
		}
	}
	if warnings != 10 {
		t.Errorf("%d warnings of 1000 refusals, want one for each power of two", warnings)
	}
	if refusalLevel(5, 2000) != slog.LevelWarn {
		t.Error("many refusals at once are no warning")
	}
}
