// Package health holds the words in which components report on themselves.
//
// A report is computed from state at the moment it is asked for; nothing sets
// it. The server joins the reports of all components into the answer of
// /health.
package health

// Status is how well a component does its work.
type Status uint8

// The statuses, from best to worst.
const (
	// Healthy: the component does all of its work.
	Healthy Status = iota
	// Degraded: it does its work late or in part, and recovers by itself.
	Degraded
	// Unhealthy: it does not do its work.
	Unhealthy
)

// String returns the status as /health spells it.
func (s Status) String() string {
	switch s {
	case Healthy:
		return "healthy"
	case Degraded:
		return "degraded"
	default:
		return "unhealthy"
	}
}

// MarshalText makes a Status appear by name in JSON.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Component is one component's report.
type Component struct {
	// Name is the component's name: "container_monitor", "sink/files".
	Name string `json:"name"`
	// Status is how well it does its work.
	Status Status `json:"status"`
	// Reason says why, in a sentence for the one who is called at night. It is
	// set whenever Status is not Healthy.
	Reason string `json:"reason,omitempty"`
}

// Reporter is anything that reports on itself. Health may be called from any
// goroutine, and must answer at once.
type Reporter interface {
	Health() []Component
}

// Worst returns the worst status among the components.
func Worst(components []Component) Status {
	worst := Healthy
	for _, c := range components {
		worst = max(worst, c.Status)
	}
	return worst
}
