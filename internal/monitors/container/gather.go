package container

import "time"

// The engine sends each line of a log by itself. Reading them one by one costs a
// wakeup and a batch for each, so a log that comes in crumbs, a short read in
// less than crumbGap, is given gatherFor to become a mouthful. Nothing is delayed
// by more than that, and no line that comes alone is delayed at all.
const (
	crumbGap  = 10 * time.Millisecond
	gatherFor = 4 * time.Millisecond
	// goOn is for how many reads there is no wait after one that brought nothing
	// more together: what is behind the body does not gather.
	goOn = 64
)

// gathering decides when to wait. The zero value is ready to use.
type gathering struct {
	// alone is the length of the last read before which there was no wait.
	alone  int
	waited bool
	skip   int
}

// after returns how long to wait after a read of n of size bytes that took so
// long.
func (g *gathering) after(n, size int, took time.Duration) time.Duration {
	switch {
	case !g.waited:
		g.alone = n
	case n < 2*g.alone && took < crumbGap:
		g.skip = goOn
	}
	g.waited = false
	if g.skip > 0 {
		g.skip--
		return 0
	}
	if n == 0 || n >= size/4 || took >= crumbGap {
		return 0
	}
	g.waited = true
	return gatherFor
}
