// Package sourcecache keeps what a sink has worked out of a record's source, so
// that it is not worked out again for every record: labels, an encoded header, a
// topic.
//
// It promises that what is in use is kept, however many sources come and go, and
// that the whole stays bounded.
package sourcecache

import (
	"sync"

	"log_capturer/internal/record"
)

// Generation is how many entries a cache's generation holds: two streams of
// 1,024 containers. A cache holds two generations at most.
const Generation = 2048

// Cache holds a T for each stream of the sources in use. When a generation is
// full, what was not asked for since the one before is forgotten. It may be used
// from any number of goroutines.
type Cache[T any] struct {
	make func(src *record.Source, stream record.Stream) T

	mu            sync.RWMutex
	recent, older map[key]T
}

type key struct {
	src    *record.Source
	stream record.Stream
}

// New returns an empty cache of what makes returns, which depends on its
// arguments alone and is called with the cache locked.
func New[T any](makes func(src *record.Source, stream record.Stream) T) *Cache[T] {
	return &Cache[T]{make: makes, recent: map[key]T{}}
}

// Of returns the T of one stream of src.
func (c *Cache[T]) Of(src *record.Source, stream record.Stream) T {
	k := key{src, stream}
	c.mu.RLock()
	v, ok := c.recent[k]
	c.mu.RUnlock()
	if ok {
		return v
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok = c.recent[k]; ok {
		return v
	}
	if v, ok = c.older[k]; !ok {
		v = c.make(src, stream)
	}
	if len(c.recent) >= Generation {
		c.older, c.recent = c.recent, make(map[key]T)
	}
	c.recent[k] = v
	return v
}

// Len returns the number of entries.
func (c *Cache[T]) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.recent) + len(c.older)
}
