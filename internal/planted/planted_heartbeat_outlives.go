//go:build planted_heartbeat_outlives

package planted

// Fault is the fault of this build.
const Fault = HeartbeatOutlives
