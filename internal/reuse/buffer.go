// Package reuse keeps buffers from one use to the next, so that a line costs no
// allocation, and lets go of those that are larger than what they are used for: a
// burst must not be paid for in memory from then on.
package reuse

const (
	// small is the size up to which a buffer is kept whatever is made of it.
	small = 64 << 10
	// waste is how many times larger than its use a buffer may be, and patience how
	// many uses in a row it may be larger. A body has room for what does not
	// compress, and requests of a burst differ in size.
	waste, patience = 16, 32
	// large is the size from which a buffer is never kept.
	large = 16 << 20
)

// Buffer keeps a buffer. The zero Buffer is ready. It is used by one goroutine at
// a time.
type Buffer struct {
	bytes []byte
	// wasted is how many uses in a row it was too large.
	wasted int
}

// Take returns the buffer, empty. It is the caller's until the next Take.
func (b *Buffer) Take() []byte { return b.bytes[:0] }

// Keep keeps used, which is what Take returned with what was appended to it, or
// what took its place, for the next Take. Its length is what the use needed.
func (b *Buffer) Keep(used []byte) {
	switch {
	case cap(used) <= small || cap(used) <= waste*len(used):
		b.wasted = 0
	default:
		b.wasted++
	}
	if b.wasted == patience || cap(used) > large {
		*b = Buffer{}
		return
	}
	b.bytes = used
}
