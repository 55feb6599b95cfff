package tools

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the usages of the tools into docs/cli.md")

// TestDocs holds docs/cli.md to the usages of the tools, which stand between two
// marks; run with -update after changing one.
func TestDocs(t *testing.T) {
	const path, begin, end = "../../docs/cli.md", "<!-- tools -->\n", "<!-- commands -->\n"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no lines %q and %q", path, begin, end)
	}
	var want strings.Builder
	want.WriteString(before + begin)
	for _, tool := range All() {
		fmt.Fprintf(&want, "\n## %s\n\n```\n%s```\n", tool.Name, tool.Usage)
	}
	want.WriteString("\n" + end + after)
	if *update {
		if err := os.WriteFile(path, []byte(want.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if want.String() != string(text) {
		t.Errorf("%s does not have the usages of the tools: run go test ./internal/tools -run TestDocs -update", path)
	}
}
