//go:build planted_repeated_line

package planted

// Fault is the fault of this build.
const Fault = RepeatedLine
