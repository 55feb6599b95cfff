//go:build !race

package loki

// pooledAllocs is how often a warm encoding may allocate for what it pools.
const pooledAllocs = 0
