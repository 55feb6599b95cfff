package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"log_capturer/internal/lifetime"
	"log_capturer/internal/record"
	"log_capturer/internal/testkit/agent"
	"log_capturer/internal/testkit/enginetest"
	"log_capturer/internal/testkit/ledger"
	"log_capturer/internal/testkit/numbered"
)

// fileConfig captures the files of a directory, and no containers.
func fileConfig(dir string, lines ...string) string {
	config := "container_monitor: {enabled: false}\nfile_monitor:\n  files: [{include: [\"" + dir + "/*.log\"]}]\n"
	for _, l := range lines {
		config += "  " + l + "\n"
	}
	return config
}

// logWriter writes numbered lines to a file and rotates it. The first error ends
// it.
type logWriter struct {
	path   string
	rotate func(*logWriter) error
	file   *os.File
	lines  uint64
	// rotations counts them, and gives each a name.
	rotations int
}

func (w *logWriter) write(lines int) error {
	var b []byte
	for range lines {
		w.lines++
		b = append(numbered.Append(b, "r", record.Stdout, w.lines, 80, numbered.Mixed), '\n')
	}
	_, err := w.file.Write(b)
	return err
}

func (w *logWriter) open() (err error) {
	if w.file != nil {
		if err := w.file.Close(); err != nil {
			return err
		}
	}
	w.file, err = os.OpenFile(w.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	return err
}

// shift makes room for the file .1.
func (w *logWriter) shift() error {
	for n := w.rotations; n >= 1; n-- {
		for _, ext := range []string{"", ".gz"} {
			err := os.Rename(fmt.Sprintf("%s.%d%s", w.path, n, ext), fmt.Sprintf("%s.%d%s", w.path, n+1, ext))
			if err != nil && !os.IsNotExist(err) {
				return err
			}
		}
	}
	w.rotations++
	return nil
}

// dated returns the name that the next rotation gives the file.
func (w *logWriter) dated() string {
	w.rotations++
	return fmt.Sprintf("%s-20240131-%06d", w.path, w.rotations)
}

func (w *logWriter) rename() error {
	if err := w.shift(); err != nil {
		return err
	}
	return os.Rename(w.path, w.path+".1")
}

func (w *logWriter) copyTo(path string) error {
	content, err := os.ReadFile(w.path)
	if err == nil {
		err = os.WriteFile(path, content, 0o600)
	}
	if err == nil {
		err = os.Truncate(w.path, 0)
	}
	return err
}

// compress packs a file as gzip does: the packed one is there before the other
// is removed, and has its times.
func compress(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(content); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	half := b.Len() / 2
	f, err := os.Create(path + ".gz")
	if err != nil {
		return err
	}
	for _, part := range [][]byte{b.Bytes()[:half], b.Bytes()[half:]} {
		if _, err := f.Write(part); err != nil {
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Chtimes(path+".gz", info.ModTime(), info.ModTime()); err != nil {
		return err
	}
	return os.Remove(path)
}

// all calls the steps up to the first error.
func all(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

var fileRotations = []func(w *logWriter) error{
	func(w *logWriter) error { return all(w.rename, w.open) },
	// The writer goes on in the renamed file until it is told.
	func(w *logWriter) error {
		return all(w.rename, func() error { return w.write(3) }, func() error { return w.write(3) }, w.open)
	},
	func(w *logWriter) error {
		return all(w.rename, w.open, func() error { return w.write(2) }, func() error { return compress(w.path + ".1") })
	},
	func(w *logWriter) error { return all(func() error { return os.Rename(w.path, w.dated()) }, w.open) },
	func(w *logWriter) error {
		name := w.dated()
		return all(func() error { return os.Rename(w.path, name) }, w.open, func() error { return compress(name) })
	},
	func(w *logWriter) error { return all(w.shift, func() error { return w.copyTo(w.path + ".1") }) },
	func(w *logWriter) error {
		name := w.dated()
		return all(func() error { return w.copyTo(name) }, func() error { return compress(name) })
	},
}

// run writes and rotates until ctx is done.
func (w *logWriter) run(ctx context.Context, pause time.Duration) error {
	defer func() { _ = w.file.Close() }()
	next := 100 + rand.IntN(200)
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := w.write(1 + rand.IntN(8)); err != nil {
			return err
		}
		if w.lines >= uint64(next) {
			if err := w.rotate(w); err != nil {
				return err
			}
			next += 100 + rand.IntN(200)
		}
	}
}

// Files are rotated in all ways while they are written to and while the agent is
// killed again and again: each line arrives once.
func TestFileRotations(t *testing.T) {
	dir := t.TempDir()
	var writers []*logWriter
	for i := range 3 * len(fileRotations) {
		writers = append(writers, &logWriter{
			path: filepath.Join(dir, fmt.Sprintf("writer-%c.log", 'a'+i)), rotate: fileRotations[i%len(fileRotations)],
		})
	}
	// What a file was rotated to before the agent saw it for the first time is not
	// captured: each has a line before that.
	for _, w := range writers {
		enginetest.Must(t, all(w.open, func() error { return w.write(1) }))
	}
	a := agent.Start(t, agent.Options{Config: fileConfig(dir, "rotate_wait: 300ms")})
	logs := filepath.Join(a.DataDir, "logs")
	waitLines(t, logs, uint64(len(writers)))
	group := lifetime.NewGroup(t.Context())
	for _, w := range writers {
		group.Go("writer", func(ctx context.Context) error { return w.run(ctx, 20*time.Millisecond) })
	}
	kills := fewer(12)
	for range kills {
		pause := time.NewTimer(time.Duration(200+rand.IntN(600)) * time.Millisecond)
		<-pause.C
		a.Kill()
		a.Start()
	}
	group.Cancel()
	enginetest.Must(t, group.Wait())
	var written uint64
	rotations := 0
	arrived := ledger.New()
	for _, w := range writers {
		written += w.lines
		rotations += w.rotations
		arrived.Expect(w.path, "r", record.Stdout, w.lines)
	}
	waitLines(t, logs, written)
	if gaps := a.Metric(t, "log_capturer_file_suspected_gaps_total"); gaps != 0 {
		t.Errorf("%v suspected gaps", gaps)
	}
	checkAccounts(t, a)
	checkHealthy(t, a)
	mustExitWell(t, a.Terminate(time.Minute))
	observeFiles(t, logs, arrived)
	check(t, "files", arrived)
	t.Logf("%d lines, %d rotations, %d kills", written, rotations, kills)
}

// observeFiles enters what the local_file sink wrote of files into a ledger.
func observeFiles(t *testing.T, logs string, l *ledger.Ledger) {
	t.Helper()
	readFiles(t, logs, func(line *fileLine) { l.ObserveStream(line.FilePath, line.stream(), line.bytes()) })
}

// waitLines waits until the local_file sink, which does not rotate, has so many
// lines.
func waitLines(t *testing.T, logs string, want uint64) {
	t.Helper()
	var got uint64
	defer func() {
		if t.Failed() {
			t.Logf("%d lines of %d", got, want)
		}
	}()
	enginetest.Eventually(t, 2*time.Minute, "all lines are written", func() bool {
		got = 0
		err := filepath.WalkDir(logs, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			got += uint64(bytes.Count(content, []byte("\n")))
			return err
		})
		return (err == nil || os.IsNotExist(err)) && got >= want
	})
}

// Ten thousand files are followed with a bounded number of open ones and few
// goroutines, and each line arrives once.
func TestTenThousandFiles(t *testing.T) {
	dir := t.TempDir()
	files := fewer(10_000)
	const maxOpen = 256
	path := func(i int) string { return filepath.Join(dir, fmt.Sprintf("%05d.log", i)) }
	arrived := ledger.New()
	lines := make([]uint64, files)
	total := uint64(0)
	write := func(i, n int) {
		var b []byte
		for range n {
			lines[i]++
			total++
			b = append(numbered.Append(b, "r", record.Stdout, lines[i], 40, numbered.ASCII), '\n')
		}
		f, err := os.OpenFile(path(i), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		enginetest.Must(t, err)
		_, err = f.Write(b)
		enginetest.Must(t, err)
		enginetest.Must(t, f.Close())
	}
	for i := range files {
		write(i, 2)
	}
	a := agent.Start(t, agent.Options{
		Config: fileConfig(dir, fmt.Sprintf("max_open_files: %d", maxOpen)) + "sinks:\n" + fileSink + "    path: \"{data_dir}/logs/all.log\"\n",
	})
	logs := filepath.Join(a.DataDir, "logs")
	mostFDs, mostGoroutines := 0, 0
	look := func() {
		mostFDs, mostGoroutines = max(mostFDs, openFDs(t, a)), max(mostGoroutines, a.Goroutines(t))
	}
	look()
	waitLines(t, logs, total)
	look()
	for i := 0; i < files; i += 10 {
		write(i, 1)
		if i%50 == 0 {
			enginetest.Must(t, os.Rename(path(i), path(i)+".1"))
			write(i, 2)
		}
	}
	look()
	waitLines(t, logs, total)
	look()
	for i, n := range lines {
		arrived.Expect(path(i), "r", record.Stdout, n)
	}
	if n := a.Metric(t, "log_capturer_files"); n != float64(files) {
		t.Errorf("%v files are known, want %d", n, files)
	}
	// Besides the logs it has its ports, its own files, and what tests ask it.
	if mostFDs > maxOpen+64 {
		t.Errorf("%d file descriptors, with max_open_files %d", mostFDs, maxOpen)
	}
	if mostGoroutines > 60 {
		t.Errorf("%d goroutines", mostGoroutines)
	}
	if gaps := a.Metric(t, "log_capturer_file_suspected_gaps_total"); gaps != 0 {
		t.Errorf("%v suspected gaps", gaps)
	}
	checkAccounts(t, a)
	checkHealthy(t, a)
	mustExitWell(t, a.Terminate(time.Minute))
	observeFiles(t, logs, arrived)
	check(t, "files", arrived)
	t.Logf("%d files: at most %d file descriptors and %d goroutines", files, mostFDs, mostGoroutines)
}

// openFDs returns how many file descriptors the agent has, as the kernel says.
func openFDs(t *testing.T, a *agent.Agent) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", a.PID()))
	enginetest.Must(t, err)
	return len(entries)
}

// What a file is known by reaches Loki and the files: labels, and the pod.
func TestFileLabels(t *testing.T) {
	dir := t.TempDir()
	pod := filepath.Join(dir, "pods", "shop_web-1_0a1b", "nginx")
	enginetest.Must(t, os.MkdirAll(pod, 0o700))
	enginetest.Must(t, os.MkdirAll(filepath.Join(dir, "apps", "billing"), 0o700))
	cri := "2024-01-31T10:00:00.000000001Z stderr P one \n2024-01-31T10:00:00.000000002Z stderr F line\n"
	enginetest.Must(t, os.WriteFile(filepath.Join(pod, "0.log"), []byte(cri), 0o600))
	enginetest.Must(t, os.WriteFile(filepath.Join(dir, "apps", "billing", "x.log"), []byte("\xff\n"), 0o600))
	config := strings.ReplaceAll(`container_monitor: {enabled: false}
file_monitor:
  files:
    - include: ["DIR/pods/*/*/*.log"]
    - include: ["DIR/apps/{app}/*.log"]
      labels: {team: red}
sinks:
  - type: local_file
    path: "{data_dir}/logs/{pod}{label.app}.log"
`, "DIR", dir)
	a := agent.Start(t, agent.Options{Config: config})
	logs := filepath.Join(a.DataDir, "logs")
	waitLines(t, logs, 2)
	for name, want := range map[string]string{
		"web-1_.log": `"stream":"stderr","line":"one line","file_path":"DIR/pods/shop_web-1_0a1b/nginx/0.log",` +
			`"namespace":"shop","pod":"web-1","pod_uid":"0a1b","container_name":"nginx","host":`,
		"_billing.log": `"stream":"stdout","line_base64":"/w==","file_path":"DIR/apps/billing/x.log","labels":{"app":"billing","team":"red"},"host":`,
	} {
		content, err := os.ReadFile(filepath.Join(logs, name))
		enginetest.Must(t, err)
		if want = strings.ReplaceAll(want, "DIR", dir); !strings.Contains(string(content), want) {
			t.Errorf("%s is %s, want %s", name, content, want)
		}
	}
}
