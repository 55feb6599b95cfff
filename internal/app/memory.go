package app

import (
	"os"
	"runtime/debug"
)

// gcPercent is by how much the heap may grow before garbage is collected. Lines
// flow through buffers that are used again, so there is little to collect, and
// running sooner than Go's default of 100 costs next to nothing and saves a
// quarter of the memory.
const gcPercent = 50

// saveMemory sets the garbage collector, unless the user has (GOGC).
func saveMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
