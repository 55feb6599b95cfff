package config

import (
	"reflect"
	"strings"
	"time"
)

// FileMonitor is the section of the file monitor.
type FileMonitor struct {
	// Whether files are captured at all. Without `files` none are.
	Enabled bool `yaml:"enabled"`
	// The files to capture. Where a file belongs to several entries, the first
	// one has it.
	Files []FileSet `yaml:"files"`
	// How often the patterns are looked for anew. In directories that the kernel
	// watches for the agent, new files are found at once.
	ScanInterval Duration `yaml:"scan_interval" min:"100ms"`
	// How long a file that was renamed must be silent before it is left for the
	// new one, so that a writer may go on in it for a while.
	RotateWait Duration `yaml:"rotate_wait" min:"0s"`
	// The most files that are open at once. With more, those are closed that
	// were not written to for longest, and opened again when they are.
	MaxOpenFiles int `yaml:"max_open_files" min:"16" max:"1000000"`
	// The longest line that is kept in one record. A longer one is cut into
	// several records that are marked; no byte is dropped.
	MaxLineBytes ByteSize `yaml:"max_line_bytes" min:"1KiB" max:"1GiB"`
	// How long the position of a removed file is kept.
	PositionRetention Duration `yaml:"position_retention" min:"0s"`
}

// FileSet is an entry of the list of files.
type FileSet struct {
	// Patterns of absolute paths. At least one has to be given.
	Include []string `yaml:"include"`
	// Patterns of files to leave out, even when they are included as well. One
	// without a slash is about the file's name in whatever directory.
	Exclude []string `yaml:"exclude"`
	// Labels that every record of these files has.
	Labels map[string]string `yaml:"labels"`
	// Where reading starts in a file that was there before the agent saw it for
	// the first time: `beginning`, `end`, or a duration, which means the beginning
	// of files that were written to in that time and the end of others. A file
	// that appears while the agent runs is read from its beginning.
	StartAt string `yaml:"start_at"`
	// How lines are written: `plain` is text with newlines, `cri` is what
	// Kubernetes' container runtimes write. `auto` tells by the first line.
	Format string `yaml:"format" oneof:"auto plain cri"`
}

// The values of FileSet.StartAt that are no duration.
const (
	StartAtBeginning = "beginning"
	StartAtEnd       = "end"
)

func defaultFileSet() FileSet { return FileSet{StartAt: StartAtBeginning, Format: "auto"} }

// decodeNode decodes an entry on top of its defaults.
func (f *FileSet) decodeNode(d *decoder, n *node, path string) {
	*f = defaultFileSet()
	d.decodeStruct(n, reflect.ValueOf(f).Elem(), path)
}

// StartAge returns the duration of StartAt, and false where it is none.
func (f *FileSet) StartAge() (time.Duration, bool) {
	age, err := ParseDuration(f.StartAt)
	return time.Duration(age), err == nil && !strings.HasPrefix(f.StartAt, "-")
}
