package reuse

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// use makes a use of n bytes, and returns the capacity that is kept after it.
func use(b *Buffer, n int) int {
	b.Keep(append(b.Take(), make([]byte, n)...))
	return cap(b.Take())
}

func TestBuffer(t *testing.T) {
	var b Buffer
	if got := len(b.Take()); got != 0 {
		t.Fatalf("a new buffer has %d bytes", got)
	}
	const burst = 1 << 20
	kept := use(&b, burst)
	if kept < burst {
		t.Fatalf("%d bytes are kept of a use of %d", kept, burst)
	}
	if allocs := testing.AllocsPerRun(100, func() {
		b.Keep(append(b.Take(), "a line"...))
		b.Keep(b.Take()[:burst])
	}); allocs != 0 {
		t.Errorf("small and large uses in turn allocate %v times", allocs)
	}
	for i := 1; i < patience; i++ {
		if got := use(&b, 100); got != kept {
			t.Fatalf("%d bytes are kept after %d small uses, want %d", got, i, kept)
		}
	}
	if got := use(&b, 100); got != 0 {
		t.Errorf("%d bytes are kept after %d small uses", got, patience)
	}
	for range 3 * patience {
		kept = use(&b, 100)
	}
	if kept == 0 || kept > small {
		t.Errorf("%d bytes are kept after uses of 100", kept)
	}
	for range 3 * patience {
		kept = use(&b, small)
		use(&b, 1)
	}
	if kept < small {
		t.Errorf("a buffer of %d bytes was let go", small)
	}
	if got := use(&b, large+1); got != 0 {
		t.Errorf("%d bytes are kept", got)
	}
}
