package archtest

import "strings"

// tableRows returns the rows of all tables of a Markdown document: the text of
// each cell, without the lines that head a table.
func tableRows(doc string) [][]string {
	var rows [][]string
	head := true // whether the next line of a table is its head
	for line := range strings.Lines(doc) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			head = true
			continue
		}
		if head || strings.Trim(line, "|-: ") == "" {
			head = false
			continue
		}
		var row []string
		for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
			row = append(row, strings.TrimSpace(cell))
		}
		rows = append(rows, row)
	}
	return rows
}

// code returns what stands between the backquotes that enclose a cell.
func code(cell string) (string, bool) {
	inner, ok := strings.CutPrefix(cell, "`")
	if !ok {
		return "", false
	}
	inner, ok = strings.CutSuffix(inner, "`")
	return inner, ok && inner != ""
}
