//go:build planted_one_wait_group

package planted

// Fault is the fault of this build.
const Fault = OneWaitGroup
