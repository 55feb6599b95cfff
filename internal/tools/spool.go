package tools

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"log_capturer/internal/cli"
	"log_capturer/internal/record"
	"log_capturer/internal/spool"
	"log_capturer/internal/vfs"
)

const spoolUsage = `Usage: log_capturer spool list|check|dump [--config FILE] [SINK...]

Looks into the spools of all sinks, or of those named, while the agent runs or
not. Nothing is changed.

  list   a line for each segment: what it holds by its name, and its size
  check  reads everything and checks every checksum; tells what is damaged
  dump   prints every record as a line of JSON, oldest first; what was
         delivered already is among them until its segment is removed

  --config FILE   the configuration, in YAML, for its data_dir

Exit codes: 0 all is well, 1 something is damaged or cannot be read, 2 wrong
usage, 3 invalid configuration.
`

// runSpool carries out the command spool.
func runSpool(_ context.Context, env cli.Env, args []string) error {
	what, args, err := action(args, "list", "check", "dump")
	if err != nil {
		return err
	}
	var file string
	sinks, err := parse(newFlags(&file), args)
	if err != nil {
		return err
	}
	cfg, err := load(env, file)
	if err != nil {
		return err
	}
	root := filepath.Join(cfg.DataDir, "spool")
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("list spools: %w", err)
	}
	var there []string
	for _, e := range entries {
		there = append(there, e.Name())
	}
	for _, name := range sinks {
		if !slices.Contains(there, name) {
			return fmt.Errorf("there is no spool of a sink %q in %s", name, root)
		}
	}
	if len(sinks) == 0 {
		sinks = there
	}
	if what == "dump" {
		return dump(env, root, sinks)
	}
	out := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "SINK\tSTATE\tFIRST\tEND\tRECORDS\tDAMAGED\tBYTES\tPROBLEM")
	damaged := false
	for _, name := range sinks {
		var infos []spool.SegmentInfo
		if what == "list" {
			infos, err = spool.List(vfs.OS{}, filepath.Join(root, name))
		} else {
			infos, err = check(env, root, name)
		}
		if err != nil {
			return err
		}
		for _, i := range infos {
			fmt.Fprintf(out, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\n", name, i.State, i.First, i.End, i.Records, i.Damaged, i.Bytes, i.Problem)
			damaged = damaged || i.Problem != "" || i.Damaged > 0
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if damaged {
		return errors.New("something is damaged")
	}
	return nil
}

// check reads the spool of a sink.
func check(env cli.Env, root, name string) ([]spool.SegmentInfo, error) {
	progress := env.Progress()
	defer progress("")
	records, said := 0, time.Time{}
	return spool.Inspect(vfs.OS{}, filepath.Join(root, name), func(b *record.Batch, _ [record.NumStreams]int) error {
		records += len(b.Records)
		if now := time.Now(); now.Sub(said) > 100*time.Millisecond {
			said = now
			progress(fmt.Sprintf("checking the spool of %s: %d records ...", name, records))
		}
		return nil
	})
}

// dumped is a record as dump prints it.
type dumped struct {
	Sink          string    `json:"sink"`
	Source        string    `json:"source"`
	ContainerID   string    `json:"container_id,omitempty"`
	ContainerName string    `json:"container_name,omitempty"`
	Stream        string    `json:"stream"`
	Time          time.Time `json:"time"`
	// JSON holds valid UTF-8 alone.
	Line       *string `json:"line,omitempty"`
	LineBase64 []byte  `json:"line_base64,omitempty"`
}

// dump prints the records of spools.
func dump(env cli.Env, root string, sinks []string) error {
	encoder := json.NewEncoder(env.Stdout)
	encoder.SetEscapeHTML(false)
	var damaged uint64
	for _, name := range sinks {
		infos, err := spool.Inspect(vfs.OS{}, filepath.Join(root, name), func(b *record.Batch, start [record.NumStreams]int) error {
			for i := range b.Records {
				r := &b.Records[i]
				if i < start[r.Stream] {
					continue
				}
				d := dumped{
					Sink: name, Source: b.Source.Key, ContainerID: b.Source.ContainerID, ContainerName: b.Source.ContainerName,
					Stream: r.Stream.String(), Time: r.Timestamp().UTC(),
				}
				if line := string(b.Line(r)); utf8.ValidString(line) {
					d.Line = &line
				} else {
					d.LineBase64 = []byte(line)
				}
				if err := encoder.Encode(d); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, i := range infos {
			damaged += i.Damaged
		}
	}
	if damaged > 0 {
		return fmt.Errorf("%d records are damaged and cannot be printed", damaged)
	}
	return nil
}
