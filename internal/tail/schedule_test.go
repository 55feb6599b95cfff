package tail

import (
	"testing"
	"time"
)

// Members that rest are looked at in a few moments together, none before its pause
// is over and none much later.
func TestSetLooksTogether(t *testing.T) {
	s := NewSet(SetOptions{NoWatch: true})
	moments := map[time.Time]int{}
	const members = 500
	for i := range members {
		now := s.made.Add(time.Duration(i) * 33 * time.Millisecond)
		pause := 11*time.Second + time.Duration(i)*time.Second/65 // 11 to 19 s
		due := s.together(now, pause)
		if late := due.Sub(now) - pause; late < 0 || late > pause/8 {
			t.Errorf("with a pause of %v it is looked at %v later", pause, late)
		}
		moments[due]++
	}
	if len(moments) > 30 {
		t.Errorf("%d members are looked at in %d moments of 24 s", members, len(moments))
	}
	for _, pause := range []time.Duration{0, 1, 7, 50 * time.Millisecond, time.Hour} {
		if late := s.together(s.made, pause).Sub(s.made) - pause; late < 0 || late > pause/8 {
			t.Errorf("with a pause of %v it is looked at %v later", pause, late)
		}
	}
}
