//go:build planted_unclosed_body

package planted

// Fault is the fault of this build.
const Fault = UnclosedBody
