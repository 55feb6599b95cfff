package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"log_capturer/internal/testkit/agent"
	"log_capturer/internal/testkit/enginetest"
)

// pipelineConfig drops, joins, redacts and routes the lines of a file.
const pipelineConfig = `container_monitor: {enabled: false}
file_monitor:
  files: [{include: ["%s/*.in"]}]
  scan_interval: 200ms
sinks:
  - {type: local_file, path: "{data_dir}/all.log"}
  - {type: local_file, name: errors, path: "{data_dir}/errors.log"}
pipelines:
  - name: p
    select: {files: ["*.in"]}
    stages:
      - {type: filter, drop: 'line startsWith "drop "'}
      - {type: multiline, continuation: '^ ', max_lines: 5, max_wait: 500ms}
      - {type: level}
      - {type: redact, presets: [email]}
      - {type: route, default: local_file, rules: [{if: level == "error", sinks: [errors]}]}
`

// pipelineLine returns the n-th line: one in ten is dropped, three continue the
// line before them, and some are errors.
func pipelineLine(n int) string {
	switch {
	case n%10 == 9:
		return fmt.Sprintf("drop %d", n)
	case n%10 > 5:
		return fmt.Sprintf(" more %d", n)
	case n%7 == 0:
		return fmt.Sprintf("ERROR of user%d@example.com %d", n, n)
	}
	return fmt.Sprintf("line %d", n)
}

// processedLines reads what a sink has: the numbers of the single lines, each
// greater than the one before it.
func processedLines(t *testing.T, path string) map[int]string {
	t.Helper()
	lines := map[int]string{}
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return lines
	}
	enginetest.Must(t, err)
	last := -1
	scanner := bufio.NewScanner(bytes.NewReader(data[:bytes.LastIndexByte(data, '\n')+1]))
	for scanner.Scan() {
		var doc struct{ Line string }
		if err := json.Unmarshal(scanner.Bytes(), &doc); err != nil {
			t.Fatalf("%s: %v in %q", path, err, scanner.Bytes())
		}
		for _, line := range strings.Split(doc.Line, "\n") {
			n, err := strconv.Atoi(line[strings.LastIndexByte(line, ' ')+1:])
			if err != nil {
				t.Fatalf("%s: no line of ours: %q", path, line)
			}
			if n <= last {
				t.Fatalf("%s: line %d after %d", path, n, last)
			}
			last, lines[n] = n, line
		}
	}
	return lines
}

// TestPipelineUnderKills kills an agent again and again while its pipeline drops,
// joins, redacts and routes: each line that is not dropped is in one of the files
// once, in order, and without what is to be hidden.
func TestPipelineUnderKills(t *testing.T) {
	dir := t.TempDir()
	a := agent.Start(t, agent.Options{Config: fmt.Sprintf(pipelineConfig, dir)})
	all, errors := filepath.Join(a.DataDir, "all.log"), filepath.Join(a.DataDir, "errors.log")
	in, err := os.Create(filepath.Join(dir, "app.in"))
	enginetest.Must(t, err)
	defer in.Close()
	arrived := func() int { return len(processedLines(t, all)) + len(processedLines(t, errors)) }
	kills, each := long(5, 100), long(400, 2000)
	n := 0
	write := func(lines int) {
		var b strings.Builder
		for range lines {
			b.WriteString(pipelineLine(n) + "\n")
			n++
		}
		_, err := in.WriteString(b.String())
		enginetest.Must(t, err)
	}
	for range kills {
		before := arrived()
		// In pieces, so that there is something half done whenever it is killed.
		for range 20 {
			write(each / 20)
		}
		enginetest.Eventually(t, time.Minute, "some lines arrive", func() bool { return arrived() > before })
		a.Kill()
		a.Start()
	}
	want := 0
	for i := range n {
		if !strings.HasPrefix(pipelineLine(i), "drop ") {
			want++
		}
	}
	enginetest.Eventually(t, time.Minute, "all lines arrive", func() bool { return arrived() >= want })
	a.Terminate(time.Minute)
	plain, bad := processedLines(t, all), processedLines(t, errors)
	if len(plain)+len(bad) != want {
		t.Errorf("%d lines arrived, want %d", len(plain)+len(bad), want)
	}
	for i := range n {
		line := pipelineLine(i)
		inPlain, isPlain := plain[i]
		inBad, isBad := bad[i]
		switch {
		case strings.HasPrefix(line, "drop "):
			if isPlain || isBad {
				t.Errorf("line %d was to be dropped", i)
			}
		case strings.HasPrefix(line, "ERROR "):
			if want := fmt.Sprintf("ERROR of [redacted] %d", i); isPlain || inBad != want {
				t.Errorf("line %d: %q and %q, want %q among the errors alone", i, inPlain, inBad, want)
			}
		case strings.HasPrefix(line, "line "):
			if isBad || inPlain != line {
				t.Errorf("line %d: %q and %q, want %q", i, inPlain, inBad, line)
			}
		default:
			// It goes where the record goes that it continues.
			if isPlain == isBad || inPlain+inBad != line {
				t.Errorf("line %d: %q and %q, want %q once", i, inPlain, inBad, line)
			}
		}
	}
}
