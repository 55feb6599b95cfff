package deliverytest

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// Verdict is a testing.TB that keeps the errors of one run instead of failing
// its test, so that the run can be repeated with a smaller input. It is safe for
// concurrent use.
type Verdict struct {
	testing.TB

	mu     sync.Mutex
	errors []string
}

// Errorf keeps an error.
func (v *Verdict) Errorf(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.errors = append(v.errors, fmt.Sprintf(format, args...))
}

// Err returns what was kept as one text, empty for nothing.
func (v *Verdict) Err() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return strings.Join(v.errors, "\n")
}
