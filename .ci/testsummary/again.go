package main

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// maxAgain bounds how many tests may be run a second time. More failures than
// that are no matter of luck.
const maxAgain = 3

// again runs each test that failed once more, by itself and with nothing beside
// it, and moves those that pass then from the failed to the flaky ones. A
// machine that is busy with other packages can fail a test that waits for real
// processes; a fault of the code fails it again. What failed is shown either
// way and stays in the report, so that it is mended.
//
// Command is how go test was run, without its packages. A package that fails
// without a test to blame, and a build that fails, are final.
func (s *summary) again(command []string) error {
	var tests []string
	for _, name := range s.failed {
		pkg, test, ok := strings.Cut(name, " ")
		if !ok {
			return nil
		}
		top, _, _ := strings.Cut(test, "/")
		if key := pkg + " " + top; !slices.Contains(tests, key) {
			tests = append(tests, key)
		}
	}
	if len(tests) == 0 || len(tests) > maxAgain {
		return nil
	}
	for _, name := range tests {
		pkg, test, _ := strings.Cut(name, " ")
		fmt.Fprintf(s.out, "run again, alone: %s\n", name)
		second := newSummary(s.out)
		args := append(slices.Clone(command[1:]), "-run", "^"+test+"$", pkg)
		if err := second.run(command[0], args); err != nil {
			return err
		}
		if len(second.failed) > 0 || len(second.skipped) > 0 || !slices.Contains(second.passed, name) {
			continue
		}
		ofTest := func(failed string) bool { return failed == name || strings.HasPrefix(failed, name+"/") }
		s.failed = slices.DeleteFunc(s.failed, ofTest)
		s.passed = append(s.passed, second.passed...)
		s.flaky = append(s.flaky, name)
	}
	return nil
}

// run reads the output of a command. That the command fails is in its output.
func (s *summary) run(name string, args []string) error {
	command := exec.Command(name, args...)
	output, err := command.StdoutPipe()
	if err != nil {
		return fmt.Errorf("run %s: %w", name, err)
	}
	command.Stderr = command.Stdout
	if err := command.Start(); err != nil {
		return fmt.Errorf("run %s: %w", name, err)
	}
	if err := s.read(output); err != nil {
		return fmt.Errorf("read output of %s: %w", name, err)
	}
	err = command.Wait()
	if err != nil && len(s.failed) == 0 {
		s.failed = append(s.failed, fmt.Sprintf("%s %s: %v", name, strings.Join(args, " "), err))
	}
	return nil
}
