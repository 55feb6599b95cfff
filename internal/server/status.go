package server

import (
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

// Status is what /api/v1/status answers.
type Status struct {
	// Version and Commit say which build runs.
	Version string `json:"version"`
	Commit  string `json:"commit"`
	// StartedAt is when the agent started.
	StartedAt time.Time `json:"started_at"`
	// DataDir is the directory of the agent's files, as an absolute path.
	DataDir string `json:"data_dir"`
	// Host is the machine's name, as records carry it.
	Host string `json:"host"`
	// Sinks are the configured destinations.
	Sinks []Sink `json:"sinks"`
	// Process is what the agent uses of the machine now.
	Process Process `json:"process"`
	// LastReload is what the last reload of the configuration came to, nil before
	// the first.
	LastReload *Reload `json:"last_reload,omitempty"`

	// What follows is set by the server.

	// Tails is the number of tails that are running.
	Tails int `json:"tails"`
	// PID is the agent's process id.
	PID int `json:"pid"`
	// UptimeSeconds is the time since StartedAt.
	UptimeSeconds float64 `json:"uptime_seconds"`
	// Listeners are the bound addresses of "api", "metrics" and "pprof". One
	// that is off is missing.
	Listeners map[string]string `json:"listeners"`
	// Containers counts the containers by state.
	Containers Counts `json:"containers"`
	// Files counts the files by state.
	Files FileCounts `json:"files"`
}

// Sink is a configured destination. Accepted is always the sum of Acknowledged,
// InMemory, Spooled, DeadLettered and Dropped.
type Sink struct {
	Name string `json:"name"`
	Type string `json:"type"`
	// Accepted, Acknowledged, DeadLettered and Dropped count records since the
	// agent started. InMemory and Spooled are those that wait now, in memory and
	// on disk.
	Accepted     uint64 `json:"accepted"`
	Acknowledged uint64 `json:"acknowledged"`
	DeadLettered uint64 `json:"dead_lettered"`
	Dropped      uint64 `json:"dropped"`
	InMemory     uint64 `json:"in_memory"`
	Spooled      uint64 `json:"spooled"`
	// QueueBytes is the memory that waiting records take of
	// QueueCapacityBytes.
	QueueBytes         int64 `json:"queue_bytes"`
	QueueCapacityBytes int64 `json:"queue_capacity_bytes"`
	// FailedAttempts counts the attempts after which a request was tried again.
	FailedAttempts uint64 `json:"failed_attempts"`
}

// Process is what the agent uses of the machine. A number that cannot be read is
// zero.
type Process struct {
	Goroutines    int     `json:"goroutines"`
	OpenFDs       int     `json:"open_fds"`
	ResidentBytes int64   `json:"resident_bytes"`
	CPUSeconds    float64 `json:"cpu_seconds"`
}

// State says how a container's log is being read now.
type State string

// The states.
const (
	// Reading: its log is read as it is written.
	Reading State = "reading"
	// Waiting: it waits for its turn in the stream pool.
	Waiting State = "waiting"
	// Idle: it runs, all that it wrote is read, and it yielded its turn.
	Idle State = "idle"
	// Excluded: the configuration leaves it out.
	Excluded State = "excluded"
	// Unreadable: its log driver keeps nothing that could be read.
	Unreadable State = "unreadable"
	// Stopped: it does not run, and all that it wrote is read.
	Stopped State = "stopped"
	// Error: reading it went wrong and is tried again.
	Error State = "error"
)

// Counts holds a number of containers for each state.
type Counts struct {
	Total      int `json:"total"`
	Reading    int `json:"reading"`
	Waiting    int `json:"waiting"`
	Idle       int `json:"idle"`
	Excluded   int `json:"excluded"`
	Unreadable int `json:"unreadable"`
	Stopped    int `json:"stopped"`
	Error      int `json:"error"`
}

// Container is what /api/v1/containers says of a container.
type Container struct {
	// ID is the full id.
	ID string `json:"id"`
	// Name is the name without the leading slash.
	Name string `json:"name"`
	// Image is the image reference that it was made from.
	Image string `json:"image"`
	// State says how it is being read.
	State State `json:"state"`
	// Transport is "api" or "file", "" when it is not read.
	Transport string `json:"transport"`
	// TransportReason says why it is not read from its file.
	TransportReason string `json:"transport_reason,omitempty"`
	// LagSeconds is how long the oldest line that is not read yet has waited.
	LagSeconds float64 `json:"lag_seconds"`
	// Lease says whether it holds one of the stream pool's leases.
	Lease bool `json:"lease"`
	// Lines and Bytes count what was read since the agent started.
	Lines uint64 `json:"lines"`
	Bytes uint64 `json:"bytes"`
	// SuspectedGaps counts the times that lines may have been lost because the
	// engine no longer had those that come next.
	SuspectedGaps uint64 `json:"suspected_gaps"`
	// LastLine is the time of the last line read, zero when there is none.
	LastLine time.Time `json:"last_line,omitzero"`
	// Reason says why the state is what it is, where the state alone does not.
	Reason string `json:"reason,omitempty"`
}

// Gone is the state of a file that was removed, and of which all is read.
const Gone State = "gone"

// FileCounts holds a number of files for each state. A file is reading while it
// is caught up with, and idle when all of it is read.
type FileCounts struct {
	Total   int `json:"total"`
	Reading int `json:"reading"`
	Idle    int `json:"idle"`
	Gone    int `json:"gone"`
	Error   int `json:"error"`
}

// File is what /api/v1/files says of a file.
type File struct {
	// Path is its path.
	Path string `json:"path"`
	// State is reading, idle, gone or error.
	State State `json:"state"`
	// Labels are those of its records.
	Labels map[string]string `json:"labels,omitempty"`
	// Namespace, Pod and Container say which container of which pod it is from.
	Namespace string `json:"namespace,omitempty"`
	Pod       string `json:"pod,omitempty"`
	Container string `json:"container,omitempty"`
	// LagSeconds is how long ago what is being read now was written, 0 when all
	// is read.
	LagSeconds float64 `json:"lag_seconds"`
	// Lines and Bytes count what was read since the agent started.
	Lines uint64 `json:"lines"`
	Bytes uint64 `json:"bytes"`
	// SuspectedGaps counts the times that lines may be missing, LostBytes the
	// bytes that are known to be.
	SuspectedGaps uint64 `json:"suspected_gaps"`
	LostBytes     uint64 `json:"lost_bytes"`
	// LastLine is the time of the last line read, zero when there is none.
	LastLine time.Time `json:"last_line,omitzero"`
	// Watched says that the kernel tells of changes; others are looked at from
	// time to time.
	Watched bool `json:"watched"`
	// Reason says why the state is what it is, where the state alone does not.
	Reason string `json:"reason,omitempty"`
}

// status returns the facts about the agent now, with the counts of containers.
func (s *Server) status(containers []Container, files []File) Status {
	var status Status
	if s.opts.Status != nil {
		status = s.opts.Status()
	}
	if status.Sinks == nil {
		status.Sinks = []Sink{}
	}
	status.PID = os.Getpid()
	if s.opts.Tail != nil {
		status.Tails = s.opts.Tail.Watchers()
	}
	if !status.StartedAt.IsZero() {
		status.UptimeSeconds = math.Round(time.Since(status.StartedAt).Seconds()*1000) / 1000
	}
	status.Listeners = map[string]string{}
	for _, e := range s.endpoints {
		status.Listeners[e.purpose] = e.listener.Addr().String()
	}
	status.Containers = countContainers(containers)
	status.Files = countFiles(files)
	return status
}

// files returns the files by path, never nil.
func (s *Server) files() []File {
	if s.opts.Files == nil {
		return []File{}
	}
	files := append([]File{}, s.opts.Files()...)
	slices.SortStableFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return files
}

func countFiles(files []File) FileCounts {
	counts := FileCounts{Total: len(files)}
	for i := range files {
		switch files[i].State {
		case Reading:
			counts.Reading++
		case Idle:
			counts.Idle++
		case Gone:
			counts.Gone++
		case Error:
			counts.Error++
		}
	}
	return counts
}

// containers returns the containers by name, never nil.
func (s *Server) containers() []Container {
	if s.opts.Containers == nil {
		return []Container{}
	}
	containers := append([]Container{}, s.opts.Containers()...)
	slices.SortStableFunc(containers, func(a, b Container) int {
		if order := strings.Compare(a.Name, b.Name); order != 0 {
			return order
		}
		return strings.Compare(a.ID, b.ID)
	})
	return containers
}

func countContainers(containers []Container) Counts {
	counts := Counts{Total: len(containers)}
	for i := range containers {
		switch containers[i].State {
		case Reading:
			counts.Reading++
		case Waiting:
			counts.Waiting++
		case Idle:
			counts.Idle++
		case Excluded:
			counts.Excluded++
		case Unreadable:
			counts.Unreadable++
		case Stopped:
			counts.Stopped++
		case Error:
			counts.Error++
		}
	}
	return counts
}
