//go:build !linux

package selfwatch

import (
	"errors"
	"time"
)

// The numbers that come from the operating system are read on Linux only.
// Elsewhere their metrics are absent.
var errNotLinux = errors.New("read process numbers: only Linux is supported")

func openFDs() ([]int, error)         { return nil, errNotLinux }
func fdTarget(int) string             { return "" }
func fdKindOf(int) string             { return "" }
func residentBytes() (int64, error)   { return 0, errNotLinux }
func cpuTime() (time.Duration, error) { return 0, errNotLinux }
