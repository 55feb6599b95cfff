package main

import (
	"context"
	"net"
	"sync"
	"time"
)

// gate stands before the destination, and lets connections through as well as
// the present fault allows.
type gate struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup

	mu    sync.Mutex
	mode  string
	conns map[net.Conn]struct{}
}

const (
	// slowChunk is let through in every slowPause when the destination is slow.
	slowChunk = 8 << 10
	slowPause = 100 * time.Millisecond
	// flapEvery is how often a flapping destination goes up and down.
	flapEvery = 3 * time.Second
)

// openGate returns a gate before an address, open.
func openGate(target string) (*gate, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &gate{listener: listener, target: target, conns: map[net.Conn]struct{}{}}
	g.wg.Go(g.accept)
	return g, nil
}

func (g *gate) url() string { return "http://" + g.listener.Addr().String() }

// set sets the fault, "" for none. A destination that is down cuts the
// connections that there are.
func (g *gate) set(mode string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mode = mode
	if mode == destinationDown {
		for c := range g.conns {
			c.Close()
		}
	}
}

func (g *gate) now() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mode
}

// hold keeps a fault up until ctx is done.
func (g *gate) hold(ctx context.Context, mode string) {
	defer g.set("")
	if mode != destinationFlapping {
		g.set(mode)
		<-ctx.Done()
		return
	}
	ticker := time.NewTicker(flapEvery)
	defer ticker.Stop()
	for down := true; ; down = !down {
		g.set(map[bool]string{true: destinationDown}[down])
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (g *gate) accept() {
	for {
		client, err := g.listener.Accept()
		if err != nil {
			return // closed
		}
		if g.now() == destinationDown {
			client.(*net.TCPConn).SetLinger(0) // as if nobody listened
			client.Close()
			continue
		}
		server, err := net.Dial("tcp", g.target)
		if err != nil {
			client.Close()
			continue
		}
		g.mu.Lock()
		g.conns[client], g.conns[server] = struct{}{}, struct{}{}
		g.mu.Unlock()
		g.wg.Go(func() { g.pass(server, client, true) })
		g.wg.Go(func() { g.pass(client, server, false) })
	}
}

// pass copies from one connection to the other until one of them ends.
func (g *gate) pass(to, from net.Conn, slows bool) {
	defer func() {
		to.Close()
		from.Close()
		g.mu.Lock()
		delete(g.conns, from)
		g.mu.Unlock()
	}()
	buffer := make([]byte, slowChunk)
	for {
		n, err := from.Read(buffer)
		if slows && g.now() == destinationSlow {
			time.Sleep(slowPause)
		}
		if _, werr := to.Write(buffer[:n]); err != nil || werr != nil {
			return
		}
	}
}

// close ends the gate and all that goes through it.
func (g *gate) close() {
	g.listener.Close()
	g.mu.Lock()
	for c := range g.conns {
		c.Close()
	}
	g.mu.Unlock()
	g.wg.Wait()
}
