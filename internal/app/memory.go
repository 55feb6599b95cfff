package app

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// gcPercent is by how much the heap may grow before garbage is collected. Lines
	// flow through buffers that are used again, so there is little to collect, and
	// running sooner than Go's default of 100 costs next to nothing and saves a
	// quarter of the memory.
	gcPercent = 50
	// restPercent is the same while there is hardly any garbage. With 500 silent
	// containers it saves a sixth of the agent's own memory.
	restPercent = 10
	// restCycles is how often garbage may be collected in thriftInterval for that.
	restCycles     = 2
	thriftInterval = 10 * time.Second
)

// thrift has the garbage collector run sooner while the agent has little to do.
type thrift struct {
	percent int
	cycles  uint64
}

// newThrift sets the garbage collector. It returns nil where the user has (GOGC).
func newThrift() *thrift {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	t := &thrift{cycles: gcCycles()}
	t.set(gcPercent)
	return t
}

func (t *thrift) set(percent int) {
	if t.percent != percent {
		t.percent = percent
		debug.SetGCPercent(percent)
	}
}

// Run looks at how often garbage is collected until ctx is done.
func (t *thrift) Run(ctx context.Context) error {
	ticker := time.NewTicker(thriftInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
			t.look(gcCycles())
		}
	}
}

// look takes in how many times garbage was collected since the start.
func (t *thrift) look(cycles uint64) {
	if cycles-t.cycles <= restCycles {
		t.set(restPercent)
	} else {
		t.set(gcPercent)
	}
	t.cycles = cycles
}

// gcCycles returns how many times garbage was collected since the start.
func gcCycles() uint64 {
	sample := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
