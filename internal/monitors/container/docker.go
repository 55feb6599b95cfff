package container

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/go-units"
	"github.com/moby/moby/client"

	"log_capturer/internal/pipeline"
)

// Docker is the Engine behind a Docker Engine API. It holds one client for the
// whole agent: a client for each call would leave an idle connection and two
// goroutines behind each time.
type Docker struct {
	client    *client.Client
	transport *http.Transport
}

// NewDocker returns the engine at host ("unix:///var/run/docker.sock"), or,
// when host is empty, the one that DOCKER_HOST names, or else the one at the
// default socket. It does not connect yet.
func NewDocker(host string) (*Docker, error) {
	transport := &http.Transport{
		DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		// A follow stream is a stream of small chunks; a large buffer turns
		// them into few reads.
		ReadBufferSize:      64 << 10,
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     30 * time.Second,
	}
	if host == "" {
		host = cmp.Or(os.Getenv(client.EnvOverrideHost), client.DefaultDockerHost)
	}
	// The transport comes first: the host sets its dialer, and the environment
	// (DOCKER_CERT_PATH, DOCKER_TLS_VERIFY) its certificates.
	c, err := client.New(
		client.WithHTTPClient(&http.Client{Transport: transport}),
		client.WithHost(host),
		client.WithTLSClientConfigFromEnv(),
		client.WithAPIVersionFromEnv(),
		client.WithUserAgent("log_capturer"),
	)
	if err != nil {
		return nil, fmt.Errorf("make engine client: %w", err)
	}
	return &Docker{client: c, transport: transport}, nil
}

// Address returns the engine's address.
func (d *Docker) Address() string { return d.client.DaemonHost() }

// Close ends the idle connections.
func (d *Docker) Close() error {
	d.transport.CloseIdleConnections()
	return d.client.Close()
}

// DataRoot implements Engine.
func (d *Docker) DataRoot(ctx context.Context) (string, error) {
	result, err := d.client.Info(ctx, client.InfoOptions{})
	if err != nil {
		return "", fmt.Errorf("ask for data directory: %w", classify(err))
	}
	return result.Info.DockerRootDir, nil
}

// List implements Engine.
func (d *Docker) List(ctx context.Context) ([]Info, error) {
	result, err := d.client.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", classify(err))
	}
	infos := make([]Info, 0, len(result.Items))
	for _, item := range result.Items {
		info := Info{ID: item.ID, Image: item.Image, Labels: item.Labels, Running: hasProcess(string(item.State))}
		if len(item.Names) > 0 {
			info.Name = strings.TrimPrefix(item.Names[0], "/")
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// hasProcess reports whether a container in this state has a process.
func hasProcess(state string) bool {
	return state == "running" || state == "paused" || state == "restarting"
}

// Inspect implements Engine.
func (d *Docker) Inspect(ctx context.Context, id string) (Info, error) {
	result, err := d.client.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return Info{}, fmt.Errorf("inspect container: %w", classify(err))
	}
	c := result.Container
	info := Info{ID: c.ID, Name: strings.TrimPrefix(c.Name, "/"), Inspected: true, LogPath: c.LogPath}
	if c.Config != nil {
		info.Image, info.Labels, info.TTY = c.Config.Image, c.Config.Labels, c.Config.Tty
		info.Ignored = pipeline.Ignored(c.Config.Env)
	}
	if c.HostConfig != nil {
		info.Driver = c.HostConfig.LogConfig.Type
		info.MaxSize, info.MaxFiles = rotation(c.HostConfig.LogConfig.Config)
	}
	if c.State != nil {
		// A container between two restarts has no process, and its log stream
		// is at its end: the start event makes a new one.
		info.Running = c.State.Running
		info.Removing = c.State.Status == "removing" || c.State.Dead
		if t, err := time.Parse(time.RFC3339Nano, c.State.StartedAt); err == nil && t.Year() > 1 {
			info.StartedAt = t
		}
	}
	return info, nil
}

// rotation returns what a log driver's options say of rotating. The engine has
// checked them.
func rotation(options map[string]string) (maxSize int64, maxFiles int) {
	maxSize, _ = units.RAMInBytes(options["max-size"])
	maxFiles, _ = strconv.Atoi(options["max-file"])
	return max(maxSize, 0), max(maxFiles, 1)
}

// Events implements Engine.
func (d *Docker) Events(ctx context.Context, ready func(), handle func(Event)) error {
	ctx, cancel := context.WithCancel(ctx)
	filters := client.Filters{}
	filters.Add("type", "container")
	for _, kind := range []EventKind{EventCreate, EventStart, EventDie, EventDestroy, EventRename} {
		filters.Add("event", string(kind))
	}
	// The call returns when the engine has answered, which it does after it
	// has subscribed the stream.
	stream := d.client.Events(ctx, client.EventsListOptions{Filters: filters})
	defer func() {
		// The client's goroutine ends when it has seen the cancellation; it
		// closes Err then.
		cancel()
		for range stream.Err {
		}
	}()
	ready()
	for {
		select {
		case m := <-stream.Messages:
			attributes := m.Actor.Attributes
			var at time.Time
			if m.TimeNano != 0 {
				at = time.Unix(0, m.TimeNano)
			}
			handle(Event{
				Time: at,
				Kind: EventKind(m.Action), ID: m.Actor.ID,
				Name: attributes["name"], Image: attributes["image"], Labels: attributes,
			})
		case err := <-stream.Err:
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read events: %w", classify(err))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Logs implements Engine.
func (d *Docker) Logs(ctx context.Context, id string, opts LogsOptions) (io.ReadCloser, error) {
	query := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: opts.Follow}
	if opts.Tail >= 0 {
		query.Tail = strconv.Itoa(opts.Tail)
	}
	if !opts.Since.IsZero() {
		query.Since = fmt.Sprintf("%d.%09d", opts.Since.Unix(), opts.Since.Nanosecond())
	}
	body, err := d.client.ContainerLogs(ctx, id, query)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", classify(err))
	}
	return body, nil
}

// classify wraps an error of the client in one of this package's, where one
// fits.
func classify(err error) error {
	switch {
	case errdefs.IsNotFound(err):
		return fmt.Errorf("%w: %w", ErrGone, err)
	case errdefs.IsConflict(err):
		return fmt.Errorf("%w: %w", ErrBusy, err)
	case errdefs.IsNotImplemented(err),
		// Engines before 25 answer 500 with this text.
		strings.Contains(err.Error(), "does not support reading"):
		return fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return err
}
