//go:build planted_client_per_call

package planted

// Fault is the fault of this build.
const Fault = ClientPerCall
