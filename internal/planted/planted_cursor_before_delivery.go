//go:build planted_cursor_before_delivery

package planted

// Fault is the fault of this build.
const Fault = CursorBeforeDelivery
