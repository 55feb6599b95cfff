//go:build race

package loki

// The race detector makes every sync.Pool forget some of what it is given, the
// one of the compressor included.
const pooledAllocs = 30
