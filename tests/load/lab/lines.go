package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"log_capturer/internal/record"
	"log_capturer/internal/testkit/ledger"
	"log_capturer/internal/testkit/numbered"
)

// written is what the containers have written, by run: one count for each of
// their starts.
type written map[string][]numbered.Count

// readWritten reads all count files.
func readWritten(dir string) (written, error) {
	files, err := countFiles(dir)
	if err != nil {
		return nil, err
	}
	w := written{}
	for run, path := range files {
		if w[run], err = numbered.ReadCounts(path); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// total returns the number of lines.
func (w written) total() uint64 {
	var n uint64
	for _, counts := range w {
		for _, c := range counts {
			for _, lines := range c.Lines {
				n += lines
			}
		}
	}
	return n
}

// capture compares the files below a directory with what was written before
// they were read. Lines that were written meanwhile may be there, and count as
// unexpected only beyond what is written when the files have been read.
func capture(dir, countsDir string, before written) (*ledger.Report, error) {
	paths, err := logFiles(dir)
	if err != nil {
		return nil, err
	}
	book := ledger.New()
	for _, path := range paths {
		if err := observeFile(book, path, before); err != nil {
			return nil, err
		}
	}
	after, err := readWritten(countsDir)
	if err != nil {
		return nil, err
	}
	for run := range before {
		for k, c := range after[run] {
			for s, most := range c.Lines {
				least := uint64(0)
				if k < len(before[run]) {
					least = before[run][k].Lines[s]
				}
				// A writer that is killed may have written one line more.
				book.ExpectBetween(run, numbered.RunOf(run, k+1), record.Stream(s), least, most+1)
			}
		}
	}
	return book.Check(), nil
}

// logFiles returns the files below dir in which log lines may be, closed files
// before the ones that they were.
func logFiles(dir string) ([]string, error) {
	var paths []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch name := strings.ToLower(e.Name()); {
		case err != nil:
			return err
		case path != dir && (strings.HasPrefix(name, "positions") || strings.HasPrefix(name, "dead-letter")):
			// The agent's own files: a line in them was not delivered.
			if e.IsDir() {
				return fs.SkipDir
			}
		case e.Type().IsRegular() && !strings.HasSuffix(name, ".tmp"):
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("find log files: %w", err)
	}
	slices.Sort(paths)
	return paths, nil
}

// observeFile enters the numbered lines of a file.
func observeFile(book *ledger.Ledger, path string, known written) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read log file: %w", err)
	}
	defer f.Close()
	var r io.Reader = f
	switch filepath.Ext(path) {
	case ".gz":
		if r, err = gzip.NewReader(f); err != nil {
			return fmt.Errorf("read log file %q: %w", path, err)
		}
	case ".zst":
		z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return fmt.Errorf("read log file %q: %w", path, err)
		}
		defer z.Close()
		r = z
	}
	lines := bufio.NewReaderSize(r, 256<<10)
	var long []byte
	for {
		part, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			long = append(long, part...)
			continue
		}
		if len(long) > 0 {
			long = append(long, part...)
			part = long
		}
		if err == io.EOF {
			return nil // what has no newline is being written
		}
		if err != nil {
			return fmt.Errorf("read log file %q: %w", path, err)
		}
		observeText(book, bytes.TrimRight(part, "\n"), known)
		long = long[:0]
	}
}

// observeText enters the numbered line that is in a line of a file, which may be
// plain text, or JSON with the line in any field: the load test's lines need no
// escapes. Lines of other runs are left out.
func observeText(book *ledger.Ledger, text []byte, known written) {
	for {
		at := bytes.Index(text, []byte(runPrefix))
		if at < 0 {
			return
		}
		text = text[at:]
		line := text
		if end := bytes.IndexByte(line, '"'); end >= 0 {
			line = line[:end]
		}
		l, err := numbered.Parse(line)
		if !errors.Is(err, numbered.ErrForm) {
			run := string(l.Run)
			if dot := strings.LastIndexByte(run, '.'); dot > 0 {
				run = run[:dot]
			}
			if _, ok := known[run]; ok {
				if !l.End {
					book.Observe(run, line)
				}
				return
			}
		}
		text = text[len(runPrefix):]
	}
}
