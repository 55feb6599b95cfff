package cli

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the usages in docs/cli.md anew")

// docs/cli.md ends with what each command says of itself. Run with -update
// after changing a usage.
func TestDocs(t *testing.T) {
	const path, mark = "../../docs/cli.md", "<!-- commands -->\n"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, _, ok := strings.Cut(string(text), mark)
	if !ok {
		t.Fatalf("%s has no line %q", path, mark)
	}
	var want strings.Builder
	want.WriteString(before + mark)
	for _, c := range commands(nil) {
		fmt.Fprintf(&want, "\n## %s\n\n```\n%s```\n", c.name, c.usage)
	}
	if *update {
		if err := os.WriteFile(path, []byte(want.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if want.String() != string(text) {
		t.Errorf("%s does not have the usages of the commands: run go test ./internal/cli -run TestDocs -update", path)
	}
}

// Every flag that a usage tells of is one that the command takes, and usages
// keep to the width of a terminal.
func TestUsages(t *testing.T) {
	for _, c := range commands(nil) {
		for line := range strings.Lines(c.usage) {
			if len(strings.TrimSuffix(line, "\n")) > 88 {
				t.Errorf("%s: a line is too long: %s", c.name, line)
			}
		}
		calls := [][]string{{c.name}}
		for _, sub := range subcommands[c.name] {
			calls = append(calls, []string{c.name, sub})
		}
		for _, match := range flagLine.FindAllStringSubmatch(c.usage, -1) {
			known := false
			for _, args := range calls {
				// A flag that cannot be follows, so that nothing is carried out.
				for _, value := range []string{"1", "1s"} {
					args := append(slices.Clone(args), match[1])
					if match[2] != "" {
						args = append(args, value)
					}
					got := runMain(t.Context(), nil, append(args, "--no-such-flag")...)
					if got.code != ExitUsage {
						t.Errorf("%q: %+v", args, got)
					}
					known = known || strings.Contains(got.stderr, "not defined: -no-such-flag")
				}
			}
			if !known {
				t.Errorf("%s does not take %s", c.name, match[1])
			}
		}
	}
}
