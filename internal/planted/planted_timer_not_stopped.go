//go:build planted_timer_not_stopped

package planted

// Fault is the fault of this build.
const Fault = TimerNotStopped
