//go:build !planted_abandoned_stream && !planted_client_per_call && !planted_heartbeat_outlives && !planted_one_wait_group && !planted_unclosed_body && !planted_timer_not_stopped && !planted_cursor_before_delivery && !planted_dropped_line && !planted_repeated_line

package planted

// Fault is the fault of this build: none.
const Fault = ""
