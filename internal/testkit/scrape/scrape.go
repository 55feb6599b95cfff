// Package scrape reads metrics as Prometheus would, for tests and for the load
// lab.
//
// It owns the decoding of the text exposition format, as far as samples go:
// names, labels and values. Types, help texts and timestamps are passed over.
package scrape

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Sample is one value of a scrape.
type Sample struct {
	Name   string
	Labels map[string]string
	Value  float64
}

// Samples are the values of one scrape, in the order given.
type Samples []Sample

// Get scrapes a URL.
func Get(ctx context.Context, client *http.Client, url string) (Samples, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("scrape: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("scrape: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("scrape %s: %s", url, resp.Status)
	}
	samples, err := Parse(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("scrape %s: %w", url, err)
	}
	return samples, nil
}

// Parse decodes the text format.
func Parse(r io.Reader) (Samples, error) {
	var samples Samples
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		s, err := parseSample(line)
		if err != nil {
			return nil, fmt.Errorf("line %d %q: %w", n, line, err)
		}
		samples = append(samples, s)
	}
	return samples, lines.Err()
}

// parseSample decodes name{label="value",...} value [timestamp].
func parseSample(line string) (Sample, error) {
	end := strings.IndexAny(line, "{ \t")
	if end <= 0 {
		return Sample{}, fmt.Errorf("no name and value")
	}
	s := Sample{Name: line[:end]}
	rest := line[end:]
	if rest[0] == '{' {
		var err error
		if s.Labels, rest, err = parseLabels(rest[1:]); err != nil {
			return Sample{}, err
		}
	}
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return Sample{}, fmt.Errorf("no value")
	}
	var err error
	s.Value, err = strconv.ParseFloat(fields[0], 64)
	return s, err
}

// parseLabels decodes labels up to the brace, and returns what follows it.
func parseLabels(text string) (labels map[string]string, rest string, err error) {
	labels = map[string]string{}
	for {
		text = strings.TrimLeft(text, ", \t")
		if strings.HasPrefix(text, "}") {
			return labels, text[1:], nil
		}
		name, after, ok := strings.Cut(text, "=")
		if !ok || !strings.HasPrefix(after, `"`) {
			return nil, "", fmt.Errorf("bad labels")
		}
		var value strings.Builder
		i := 1
		for ; i < len(after) && after[i] != '"'; i++ {
			if after[i] != '\\' || i+1 == len(after) {
				value.WriteByte(after[i])
				continue
			}
			i++
			if after[i] == 'n' {
				value.WriteByte('\n')
			} else {
				value.WriteByte(after[i])
			}
		}
		if i >= len(after) {
			return nil, "", fmt.Errorf("bad labels: no end of %s", name)
		}
		labels[strings.TrimSpace(name)] = value.String()
		text = after[i+1:]
	}
}

// Find returns the samples of a metric that have the given labels, which are
// names and values in turn. It panics on an odd number of these.
func (s Samples) Find(name string, labels ...string) Samples {
	if len(labels)%2 != 0 {
		panic("scrape: a label without a value")
	}
	var found Samples
next:
	for _, sample := range s {
		if sample.Name != name {
			continue
		}
		for i := 0; i < len(labels); i += 2 {
			if value, ok := sample.Labels[labels[i]]; !ok || value != labels[i+1] {
				continue next
			}
		}
		found = append(found, sample)
	}
	return found
}

// Sum returns the sum of the samples that Find finds, and whether there are
// any.
func (s Samples) Sum(name string, labels ...string) (sum float64, ok bool) {
	found := s.Find(name, labels...)
	for _, sample := range found {
		sum += sample.Value
	}
	return sum, len(found) > 0
}
