//go:build planted_dropped_line

package planted

// Fault is the fault of this build.
const Fault = DroppedLine
