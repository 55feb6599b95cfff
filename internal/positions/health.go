package positions

import (
	"fmt"

	"log_capturer/internal/health"
)

// stats is what the journal counts, guarded by its mu.
type stats struct {
	commits, commitFailures uint64
	syncs, syncFailures     uint64
	rewrites                uint64

	// The errors of the last attempt; nil when it succeeded.
	commitErr, syncErr, compactErr error
}

var _ health.Reporter = (*Journal)(nil)

// Health implements health.Reporter with one component, "positions".
func (j *Journal) Health() []health.Component {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := health.Component{Name: "positions"}
	switch s := j.stats; {
	case j.closed:
		c.Status, c.Reason = health.Unhealthy, ErrClosed.Error()
	case s.commitErr != nil:
		c.Status = health.Unhealthy
		c.Reason = fmt.Sprintf("positions cannot be written in %q, so what is delivered now would be delivered again after a restart: %v", j.dir, s.commitErr)
	case s.syncErr != nil:
		c.Status = health.Unhealthy
		c.Reason = fmt.Sprintf("positions in %q cannot be made durable, so a loss of power now would repeat records: %v", j.dir, s.syncErr)
	case len(j.recovery.SetAside) > 0:
		aside := j.recovery.SetAside[0]
		c.Status = health.Degraded
		c.Reason = fmt.Sprintf("a damaged positions journal was set aside as %q at the start (%s; %d bytes could not be read): some containers may be read again from an older position", aside.Path, aside.Reason, aside.DamagedBytes)
	case s.compactErr != nil:
		c.Status = health.Degraded
		c.Reason = fmt.Sprintf("the positions journal in %q cannot be compacted and grows: %v", j.dir, s.compactErr)
	}
	return []health.Component{c}
}
