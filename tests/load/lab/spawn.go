package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"log_capturer/internal/testkit/numbered"
	"log_capturer/internal/testkit/writerimage"
)

const (
	// loadLabel marks the containers of the load test.
	loadLabel, loadValue = "test", "loadtest"
	// runLabel holds the name of the run that numbers a container's lines.
	runLabel = "log_capturer.loadtest.run"
	// runPrefix begins the names of all runs.
	runPrefix = "lt-"
	// countsSuffix ends the names of count files; the run's name is before it.
	countsSuffix = ".counts"
)

// spawnOptions are the options of spawn.
type spawnOptions struct {
	count, parallel int
	rate            float64
	duration        time.Duration
	lines           uint64
	size, streams   string
	countsDir       string
	host            string
}

func (o *spawnOptions) flags(output io.Writer) *flag.FlagSet {
	f := flag.NewFlagSet("spawn", flag.ContinueOnError)
	f.SetOutput(output)
	f.IntVar(&o.count, "count", 55, "`number` of containers")
	f.Float64Var(&o.rate, "rate", 1, "`lines` a second on each stream of each container; 0 for as many as possible")
	f.DurationVar(&o.duration, "duration", 0, "how long the containers write, 0 for until they are stopped")
	f.Uint64Var(&o.lines, "lines", 0, "`lines` that each container writes on each stream, 0 for no end")
	f.StringVar(&o.size, "size", "120", "length of the lines in `bytes`; a list with commas is taken in turn")
	f.StringVar(&o.streams, "streams", "out", "the streams to write to: out, err or both")
	f.IntVar(&o.parallel, "parallel", 8, "`number` of containers that are started at once")
	f.StringVar(&o.countsDir, "counts-dir", defaultCountsDir(), "`directory` of the files in which the containers count what they wrote")
	f.StringVar(&o.host, "docker-host", "", "`address` of the engine, instead of DOCKER_HOST or the default socket")
	f.Usage = func() {
		fmt.Fprint(output, `Starts containers with the label test=loadtest that write numbered lines.
Their image is built from this project; nothing is pulled. To remove them:

    docker ps -a --filter label=test=loadtest --quiet | xargs -r docker rm -f

`)
		f.PrintDefaults()
	}
	return f
}

// defaultCountsDir is where spawn and monitor meet.
func defaultCountsDir() string { return filepath.Join(os.TempDir(), "log_capturer-loadtest") }

// spawn starts the containers.
func spawn(ctx context.Context, o spawnOptions, stdout io.Writer) error {
	begin := time.Now()
	opts := []client.Opt{client.FromEnv}
	if o.host != "" {
		opts = append(opts, client.WithHost(o.host))
	}
	cli, err := client.New(opts...)
	if err != nil {
		return fmt.Errorf("make engine client: %w", err)
	}
	defer cli.Close()
	if err := writerimage.Ensure(ctx, cli); err != nil {
		return fmt.Errorf("engine at %s: %w", cli.DaemonHost(), err)
	}
	if o.countsDir, err = filepath.Abs(o.countsDir); err != nil {
		return err
	}
	if err := os.MkdirAll(o.countsDir, 0o755); err != nil {
		return fmt.Errorf("make directory for count files: %w", err)
	}
	if err := removeStaleCounts(ctx, cli, o.countsDir); err != nil {
		return err
	}

	stamp := strconv.FormatInt(begin.Unix(), 36)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	numbers := make(chan int)
	for range max(1, o.parallel) {
		wg.Go(func() {
			for n := range numbers {
				if err := spawnOne(ctx, cli, o, stamp, n); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	for n := range o.count {
		numbers <- n + 1
	}
	close(numbers)
	wg.Wait()
	fmt.Fprintf(stdout, "%d of %d containers started in %.1f s, %s lines a second on %s each; counts are in %s\n",
		o.count-len(errs), o.count, time.Since(begin).Seconds(), rateText(o.rate), o.streams, o.countsDir)
	return errors.Join(errs...)
}

func rateText(rate float64) string {
	if rate == 0 {
		return "as many as possible"
	}
	return strconv.FormatFloat(rate, 'g', -1, 64)
}

// spawnOne starts the n-th container.
func spawnOne(ctx context.Context, cli *client.Client, o spawnOptions, stamp string, n int) error {
	run := fmt.Sprintf("%s%s-%02d", runPrefix, stamp, n)
	counts := filepath.Join(o.countsDir, run+countsSuffix)
	if err := numbered.CreateCounts(counts); err != nil {
		return err
	}
	args := []string{
		"-run-id", run, "-count-file", "/counts", "-rate", fmt.Sprint(o.rate), "-lines", fmt.Sprint(o.lines),
		"-size", o.size, "-streams", o.streams, "-duration", o.duration.String(),
	}
	name := fmt.Sprintf("loadtest-%s-%02d", stamp, n)
	made, err := cli.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name: name,
		Config: &container.Config{
			Image: writerimage.Name, Cmd: args,
			Labels: map[string]string{loadLabel: loadValue, runLabel: run},
		},
		HostConfig: &container.HostConfig{
			NetworkMode: "none", Binds: []string{counts + ":/counts"},
			LogConfig: container.LogConfig{Type: "json-file"},
		},
	})
	if err != nil {
		return fmt.Errorf("create container %q: %w", name, err)
	}
	if _, err := cli.ContainerStart(ctx, made.ID, client.ContainerStartOptions{}); err != nil {
		return fmt.Errorf("start container %q: %w", name, err)
	}
	return nil
}

// removeStaleCounts removes the count files of containers that an earlier spawn
// made and that are gone.
func removeStaleCounts(ctx context.Context, cli *client.Client, dir string) error {
	list, err := cli.ContainerList(ctx, client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("label", loadLabel+"="+loadValue),
	})
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	inUse := map[string]bool{}
	for _, item := range list.Items {
		inUse[item.Labels[runLabel]] = true
	}
	files, err := countFiles(dir)
	if err != nil {
		return err
	}
	for run, path := range files {
		if !inUse[run] {
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("remove stale count file: %w", err)
			}
		}
	}
	return nil
}

// countFiles returns the paths of the count files in a directory, by run.
func countFiles(dir string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("find count files: %w", err)
	}
	files := map[string]string{}
	for _, e := range entries {
		if run, ok := strings.CutSuffix(e.Name(), countsSuffix); ok && strings.HasPrefix(run, runPrefix) {
			files[run] = filepath.Join(dir, e.Name())
		}
	}
	return files, nil
}
