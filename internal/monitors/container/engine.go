package container

import (
	"context"
	"errors"
	"io"
	"time"
)

// The errors by which an Engine says what became of a container. They are
// wrapped by what it returns.
var (
	// ErrGone: there is no such container (404).
	ErrGone = errors.New("container is gone")
	// ErrBusy: the container is dead or being removed (409).
	ErrBusy = errors.New("container is dead or being removed")
	// ErrUnreadable: the container's log driver can't be read (501, or an error
	// of older engines that says so).
	ErrUnreadable = errors.New("log driver can't be read")
)

// Info is what the engine says of a container.
type Info struct {
	// ID is the full id; Name has no leading slash.
	ID, Name string
	// Image is the image reference that the container was made from.
	Image  string
	Labels map[string]string
	// Running is set while the container has a process, paused ones included.
	Running bool
	// Ignored says that its environment is known, and that it is not to be captured
	// by it. List does not tell.
	Ignored bool

	// The fields below are set by Inspect, not by List.

	// Inspected says that they are set.
	Inspected bool
	// StartedAt is when the container was last started, zero for one that never
	// was.
	StartedAt time.Time
	// TTY is set for a container with a terminal: its log has no frames.
	TTY bool
	// Driver is the name of the log driver.
	Driver string
	// LogPath is where the log's file is, as the engine sees it; empty for a
	// driver without one, and before the first start.
	LogPath string
	// MaxSize is the size, in bytes, at which the log's file is rotated, 0 for
	// one that is not; MaxFiles is how many files of it are kept.
	MaxSize  int64
	MaxFiles int
	// Removing is set while the engine removes the container.
	Removing bool
}

// keepInspected takes over what only Inspect tells.
func (i *Info) keepInspected(from *Info) {
	listed := *i
	*i = *from
	i.ID, i.Name, i.Image, i.Labels, i.Running, i.Ignored = listed.ID, listed.Name, listed.Image, listed.Labels, listed.Running, listed.Ignored
	i.Removing = false
}

// EventKind says what happened to a container.
type EventKind string

// The events that matter to a reader of logs, by the engine's names.
const (
	EventCreate  EventKind = "create"
	EventStart   EventKind = "start"
	EventDie     EventKind = "die"
	EventDestroy EventKind = "destroy"
	EventRename  EventKind = "rename"
)

// Event is something that happened to a container.
type Event struct {
	Kind EventKind
	ID   string
	// Name, Image and Labels are as in Info.
	Name, Image string
	Labels      map[string]string
	// Time is when it happened, by the engine's clock; zero where that is not
	// known.
	Time time.Time
}

// LogsOptions say which part of a log is wanted.
type LogsOptions struct {
	// Follow keeps the stream open for what comes.
	Follow bool
	// Tail is the number of entries from the end to begin with, negative for
	// all.
	Tail int
	// Since leaves out entries that are older; zero leaves out nothing.
	Since time.Time
}

// Engine is the container engine. Its methods may be called from several
// goroutines at once, and return soon after ctx is done.
type Engine interface {
	// Address says where the engine is, for people.
	Address() string
	// DataRoot returns the directory where the engine keeps its data, as it sees
	// it itself.
	DataRoot(ctx context.Context) (string, error)
	// List returns all containers, stopped ones included.
	List(ctx context.Context) ([]Info, error)
	// Inspect returns one container.
	Inspect(ctx context.Context, id string) (Info, error)
	// Events calls handle for each event, one after the other, until the stream
	// of events ends or ctx is done, and returns why. It calls ready once when
	// every later event will be seen.
	Events(ctx context.Context, ready func(), handle func(Event)) error
	// Logs opens a container's log with timestamps on every entry. A blocked
	// Read of it returns when ctx is cancelled. The caller closes it.
	Logs(ctx context.Context, id string, opts LogsOptions) (io.ReadCloser, error)
}
