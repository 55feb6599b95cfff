package main

import (
	"bytes"
	_ "embed" // the report's template
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// writeReports writes what a run came to: the samples, the report as Markdown
// and as a page with plots, and the table for programs.
func writeReports(dir string, o *outcome, rows []row) error {
	var csv bytes.Buffer
	if err := o.history.writeCSV(&csv); err != nil {
		return fmt.Errorf("write samples: %w", err)
	}
	page, err := htmlReport(o, rows)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	for name, text := range map[string][]byte{
		"samples.csv": csv.Bytes(), "report.md": []byte(markdownReport(o, rows)), "report.html": page,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	return writeJSON(filepath.Join(dir, "result.json"), o, rows)
}

// verdict returns PASS or FAIL.
func verdict(rows []row) string {
	for _, r := range rows {
		if !r.pass {
			return "FAIL"
		}
	}
	return "PASS"
}

// facts are what a report says besides criteria and plots.
func (o *outcome) facts() [][2]string {
	facts := [][2]string{
		{"what", o.scenario.About},
		{"when", o.begin.UTC().Format(time.RFC3339) + ", for " + o.scenario.Duration.String()},
		{"commit", o.commit},
		{"machine", o.machine},
	}
	up := o.history.up()
	if len(up) == 0 {
		return facts
	}
	first, last := up[0], up[len(up)-1]
	facts = append(facts,
		[2]string{"rotations", fmt.Sprintf("%.0f", increase(up.of(colRotations)))},
		[2]string{"streams opened anew for another reason", fmt.Sprintf("%.0f", increase(up.of(colReopens)))},
		[2]string{"goroutines", fmt.Sprintf("%.0f at first, %.0f at last", first.get(colGoroutines), last.get(colGoroutines))},
		[2]string{"file descriptors", fmt.Sprintf("%.0f at first, %.0f at last", first.get(colFDs), last.get(colFDs))},
	)
	if goroutines, fds, ok := o.perRotation(); ok {
		facts = append(facts,
			[2]string{"goroutines a rotation", fmt.Sprintf("%+.3f", goroutines)},
			[2]string{"file descriptors a rotation", fmt.Sprintf("%+.3f", fds)})
	}
	return append(facts,
		[2]string{"memory", fmt.Sprintf("%.1f MiB at first, %.1f MiB at last", first.get(colMemory)/(1<<20), last.get(colMemory)/(1<<20))},
		[2]string{"processor time", fmt.Sprintf("%.2f %% of a core", 100*increase(up.of(colCPU))/last.at.Sub(first.at).Seconds())})
}

// perRotation returns by how many goroutines and file descriptors the agent grew
// for each rotation after the warm-up, and false when there was none.
func (o *outcome) perRotation() (goroutines, fds float64, ok bool) {
	h := o.history.after(o.begin.Add(time.Duration(o.scenario.WarmUp))).up()
	rotations := increase(h.of(colRotations))
	if rotations == 0 {
		return 0, 0, false
	}
	first, last := h[0], h[len(h)-1]
	return (last.get(colGoroutines) - first.get(colGoroutines)) / rotations, (last.get(colFDs) - first.get(colFDs)) / rotations, true
}

// cell makes a text fit for a cell of a Markdown table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", "<br>").Replace(text)
}

func markdownReport(o *outcome, rows []row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s: %s\n\n", o.scenario.Name, verdict(rows))
	b.WriteString("| | |\n|---|---|\n")
	for _, f := range o.facts() {
		fmt.Fprintf(&b, "| %s | %s |\n", f[0], cell(f[1]))
	}
	b.WriteString("\n| criterion | wanted | result | measured |\n|---|---|---|---|\n")
	for _, r := range rows {
		result := "PASS"
		if !r.pass {
			result = "FAIL"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", cell(r.criterion), cell(r.want), result, cell(r.got))
	}
	b.WriteString("\nThe samples are in samples.csv, the plots in report.html.\n")
	return b.String()
}

//go:embed report.html
var reportHTML string

var reportTemplate = template.Must(template.New("report").Parse(reportHTML))

// htmlReport returns the page: whole in itself, without scripts.
func htmlReport(o *outcome, rows []row) ([]byte, error) {
	type criterion struct {
		Name, Want, Got string
		Pass            bool
	}
	page := struct {
		Name, Verdict string
		Facts         [][2]string
		Criteria      []criterion
		Plots         []template.HTML
	}{Name: o.scenario.Name, Verdict: verdict(rows), Facts: o.facts()}
	for _, r := range rows {
		page.Criteria = append(page.Criteria, criterion{r.criterion, r.want, r.got, r.pass})
	}
	for _, p := range plots(o.history) {
		page.Plots = append(page.Plots, template.HTML(p.svg())) // its texts are escaped
	}
	var b bytes.Buffer
	err := reportTemplate.Execute(&b, page)
	return b.Bytes(), err
}
