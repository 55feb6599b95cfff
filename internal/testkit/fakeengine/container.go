package fakeengine

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// State is a container's state, as the engine spells it.
type State string

// The states. A Dead or Removing container's log is answered with a conflict.
const (
	Created  State = "created"
	Running  State = "running"
	Paused   State = "paused"
	Exited   State = "exited"
	Dead     State = "dead"
	Removing State = "removing"
)

// Config describes a new container. The zero value is a running container with
// the json-file driver.
type Config struct {
	// ID and Name are made up when empty.
	ID, Name string
	// Image is the image reference, "test/image:1" when empty.
	Image  string
	Labels map[string]string
	Env    []string
	// TTY makes the log a bare byte stream without frames.
	TTY bool
	// LogDriver is json-file when empty. With "none" the log can't be read.
	LogDriver string
	// LogOpts are the driver's options, for inspect to show.
	LogOpts map[string]string
	// State is Running when empty.
	State State
	// Log is what the log holds already.
	Log []Entry
}

// Container is a scripted container.
type Container struct {
	engine *Engine
	config Config
	id     string

	// The rest is guarded by engine.mu.
	name      string
	state     State
	created   time.Time
	started   time.Time
	finished  time.Time
	exitCode  int
	entries   []Entry
	rotated   int // entries before entries[0]
	changed   chan struct{}
	streams   map[*logStream]bool
	counts    Counts
	faults    []fault
	destroyed bool
	file      *jsonFile
}

// Add makes a container, and has the engine tell of it.
func (e *Engine) Add(config Config) *Container {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.made++
	sum := sha256.Sum256([]byte(strconv.Itoa(e.made)))
	config.Image = cmp.Or(config.Image, "test/image:1")
	config.LogDriver = cmp.Or(config.LogDriver, "json-file")
	config.State = cmp.Or(config.State, Running)
	c := &Container{
		engine: e, config: config,
		id:      cmp.Or(config.ID, hex.EncodeToString(sum[:])),
		name:    cmp.Or(config.Name, "scripted_"+strconv.Itoa(e.made)),
		state:   config.State,
		created: time.Now(),
		entries: slices.Clone(config.Log),
		changed: make(chan struct{}),
		streams: map[*logStream]bool{},
	}
	c.makeDirectory()
	e.containers = append(e.containers, c)
	e.emit(c, "create", nil)
	if c.state != Created {
		c.started = time.Now()
		c.openFile()
		e.emit(c, "start", nil)
	}
	return c
}

// ID returns the container's full id.
func (c *Container) ID() string { return c.id }

// Name returns the container's present name, without a slash.
func (c *Container) Name() string {
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	return c.name
}

// Streams returns the counts of the container's follow streams.
func (c *Container) Streams() Counts {
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	counts := c.counts
	return counts
}

// update changes the container under the lock and wakes its streams.
func (c *Container) update(change func()) {
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	change()
	c.wake()
}

// wake tells the streams to look again. engine.mu is held.
func (c *Container) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// Append adds entries to the end of the container's log.
func (c *Container) Append(entries ...Entry) {
	c.update(func() {
		c.entries = append(c.entries, entries...)
		c.writeFile(entries...)
	})
}

// Rotate drops the oldest entries so that keep are left. A stream that was not
// yet there never sees them.
func (c *Container) Rotate(keep int) {
	c.update(func() {
		if drop := len(c.entries) - keep; drop > 0 {
			c.rotated += drop
			c.entries = slices.Clone(c.entries[drop:])
		}
	})
}

// Resend makes the container's open follow streams send their last n entries
// once more, as engine 20.10 does with those of a new file after a rotation.
func (c *Container) Resend(n int) {
	c.update(func() {
		for s := range c.streams {
			s.next = max(c.rotated, s.next-n)
		}
	})
}

// Start starts the container: events start.
func (c *Container) Start() {
	c.update(func() {
		c.state, c.started, c.exitCode = Running, time.Now(), 0
		c.openFile()
		c.engine.emit(c, "start", nil)
	})
}

// Stop ends the container's process: events kill, die and stop. Follow streams
// end when they have delivered what is in the log.
func (c *Container) Stop(exitCode int) {
	c.update(func() {
		c.engine.emit(c, "kill", map[string]string{"signal": "15"})
		c.die(exitCode)
		c.engine.emit(c, "stop", nil)
	})
}

// Exit is the container's process ending by itself: event die.
func (c *Container) Exit(exitCode int) { c.update(func() { c.die(exitCode) }) }

// ExitUnseen is an Exit that first adds entries to the log which no open follow
// stream delivers. Engine 20.10 was seen to end its streams like that when a
// container's last line has no newline.
func (c *Container) ExitUnseen(exitCode int, entries ...Entry) {
	c.update(func() {
		for s := range c.streams {
			s.end = c.rotated + len(c.entries)
		}
		c.entries = append(c.entries, entries...)
		c.writeFile(entries...)
		c.die(exitCode)
	})
}

func (c *Container) die(exitCode int) {
	c.state, c.finished, c.exitCode = Exited, time.Now(), exitCode
	c.engine.emit(c, "die", map[string]string{"exitCode": strconv.Itoa(exitCode)})
}

// Pause freezes the container: event pause.
func (c *Container) Pause() {
	c.update(func() { c.state = Paused; c.engine.emit(c, "pause", nil) })
}

// Unpause undoes Pause: event unpause.
func (c *Container) Unpause() {
	c.update(func() { c.state = Running; c.engine.emit(c, "unpause", nil) })
}

// SetState sets the state without any event, for Dead and Removing.
func (c *Container) SetState(s State) { c.update(func() { c.state = s }) }

// Rename gives the container another name: event rename.
func (c *Container) Rename(name string) {
	c.update(func() {
		old := "/" + c.name
		c.name = name
		c.engine.emit(c, "rename", map[string]string{"oldName": old})
	})
}

// Remove removes the container, and ends it first if it runs: events kill, die
// and destroy. Its log is gone from then on; streams that are open deliver what
// they have not delivered yet.
func (c *Container) Remove() {
	c.update(func() {
		if c.state == Running || c.state == Paused {
			c.engine.emit(c, "kill", map[string]string{"signal": "9"})
			c.die(137)
		}
		c.destroyed = true
		c.removeFile()
		c.engine.containers = slices.DeleteFunc(c.engine.containers, func(other *Container) bool { return other == c })
		c.engine.emit(c, "destroy", nil)
	})
}

// running reports whether the container has a process. engine.mu is held.
func (c *Container) running() bool { return c.state == Running || c.state == Paused }

// status returns the sentence of docker ps. engine.mu is held.
func (c *Container) status() string {
	switch c.state {
	case Running:
		return "Up 1 second"
	case Paused:
		return "Up 1 second (Paused)"
	case Exited:
		return fmt.Sprintf("Exited (%d) 1 second ago", c.exitCode)
	case Created:
		return "Created"
	case Removing:
		return "Removal In Progress"
	default:
		return "Dead"
	}
}

func (e *Engine) serveList(w http.ResponseWriter, r *http.Request, _ string) {
	if r.URL.Query().Has("filters") {
		e.t.Errorf("the scripted engine's list has no filters: %s", r.URL.RawQuery)
		writeError(w, http.StatusBadRequest, "filters are not scripted")
		return
	}
	all := isTrue(r.URL.Query().Get("all"))
	items := []map[string]any{}
	e.mu.Lock()
	// The engine lists the newest container first.
	for _, c := range slices.Backward(e.containers) {
		if !all && !c.running() {
			continue
		}
		items = append(items, map[string]any{
			"Id": c.id, "Names": []string{"/" + c.name}, "Image": c.config.Image, "ImageID": "sha256:" + c.id,
			"Command": "/writer", "Created": c.created.Unix(), "Ports": []any{}, "Labels": labelsOf(c),
			"State": c.state, "Status": c.status(), "Mounts": []any{},
			"HostConfig":      map[string]any{"NetworkMode": "none"},
			"NetworkSettings": map[string]any{"Networks": map[string]any{}},
		})
	}
	e.mu.Unlock()
	writeJSON(w, http.StatusOK, items)
}

func (e *Engine) serveInspect(w http.ResponseWriter, _ *http.Request, ref string) {
	e.mu.Lock()
	c, err := e.find(ref)
	if err != nil {
		e.mu.Unlock()
		writeError(w, http.StatusNotFound, err.Error())
		return
	}
	answer := map[string]any{
		"Id": c.id, "Created": c.created.UTC(), "Path": "/writer", "Args": []string{}, "Image": "sha256:" + c.id,
		"Name": "/" + c.name, "RestartCount": 0, "Driver": "overlay2", "Platform": "linux",
		"LogPath": c.LogPath(), "Mounts": []any{},
		"State": map[string]any{
			"Status": c.state, "Running": c.running(), "Paused": c.state == Paused, "Restarting": false,
			"OOMKilled": false, "Dead": c.state == Dead, "Pid": 0, "ExitCode": c.exitCode, "Error": "",
			"StartedAt": c.started.UTC(), "FinishedAt": c.finished.UTC(),
		},
		"Config": map[string]any{
			"Hostname": c.id[:min(12, len(c.id))], "Tty": c.config.TTY, "Image": c.config.Image,
			"Labels": labelsOf(c), "Env": c.config.Env, "Cmd": []string{}, "Entrypoint": []string{"/writer"},
		},
		"HostConfig": map[string]any{
			"NetworkMode": "none", "AutoRemove": false,
			"LogConfig": map[string]any{"Type": c.config.LogDriver, "Config": optionsOf(c)},
		},
		"NetworkSettings": map[string]any{"Networks": map[string]any{}},
	}
	e.mu.Unlock()
	writeJSON(w, http.StatusOK, answer)
}

// optionsOf returns a copy of the log driver's options, never nil.
func optionsOf(c *Container) map[string]string {
	options := map[string]string{}
	maps.Copy(options, c.config.LogOpts)
	return options
}

// labelsOf returns a copy of the labels, never nil.
func labelsOf(c *Container) map[string]string {
	labels := map[string]string{}
	maps.Copy(labels, c.config.Labels)
	return labels
}
