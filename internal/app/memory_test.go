package app

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// collectorAt returns the percentage that the garbage collector is set to.
func collectorAt() int {
	percent := debug.SetGCPercent(100)
	debug.SetGCPercent(percent)
	return percent
}

func TestThrift(t *testing.T) {
	defer debug.SetGCPercent(collectorAt())
	t.Setenv("GOGC", "")
	thrift := newThrift()
	expect := func(when string, want int) {
		t.Helper()
		if got := collectorAt(); got != want {
			t.Errorf("%s: the collector is at %d %%, want %d", when, got, want)
		}
	}
	expect("at the start", gcPercent)
	for range restCycles {
		runtime.GC()
	}
	thrift.look(gcCycles())
	expect("at rest", restPercent)
	for range restCycles + 1 {
		runtime.GC()
	}
	thrift.look(gcCycles())
	expect("with garbage", gcPercent)
	thrift.look(gcCycles())
	expect("at rest again", restPercent)

	debug.SetGCPercent(70)
	t.Setenv("GOGC", "70")
	if newThrift() != nil {
		t.Error("the user's setting is overruled")
	}
	expect("with a setting of the user's", 70)
}
