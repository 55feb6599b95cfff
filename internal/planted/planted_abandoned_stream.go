//go:build planted_abandoned_stream

package planted

// Fault is the fault of this build.
const Fault = AbandonedStream
