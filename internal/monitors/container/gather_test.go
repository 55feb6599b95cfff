package container

import (
	"testing"
	"time"
)

func TestGathering(t *testing.T) {
	const size = 64 << 10
	f := func(name string, reads []int, took time.Duration, want int) {
		t.Run(name, func(t *testing.T) {
			var g gathering
			waits := 0
			for _, n := range reads {
				if g.after(n, size, took) > 0 {
					waits++
				}
			}
			if waits != want {
				t.Errorf("%d waits, want %d", waits, want)
			}
		})
	}
	f("lines that come alone", []int{100, 100, 100}, time.Second, 0)
	f("whole buffers", []int{size, size}, 0, 0)
	f("crumbs that gather", []int{100, 5000, 12000, 12000, 24001, 100, 300}, time.Microsecond, 6)
	same := make([]int, 200)
	for i := range same {
		same[i] = 100
	}
	f("crumbs that do not", same, time.Microsecond, 4)
}
