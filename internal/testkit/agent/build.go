package agent

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// RaceVariable is the environment variable that, set to 1, makes the agent be
// built with the race detector.
const RaceVariable = "LOG_CAPTURER_RACE"

// binary builds the agent once in a process, and returns a path that runs it.
//
// The file is unlinked while it is held open, so that nothing is left behind
// however the process ends; the path goes through the open descriptor.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "log_capturer-test")
	if err != nil {
		return "", fmt.Errorf("build agent: %w", err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "log_capturer")
	args := []string{"build", "-o", path}
	env := append(os.Environ(), "CGO_ENABLED=0")
	if os.Getenv(RaceVariable) == "1" {
		args = append(args, "-race")
		env = append(env, "CGO_ENABLED=1")
	}
	cmd := exec.Command("go", append(args, "log_capturer/cmd/log_capturer")...)
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build agent: %w\n%s", err, out)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("build agent: %w", err)
	}
	built = f
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()), nil
})

// built keeps the built file from being closed by a finalizer.
var built *os.File //nolint:unused // it is held, not read
