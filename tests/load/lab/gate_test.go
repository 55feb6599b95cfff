package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestGate(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // all of it first: HTTP/1 has no two ways at once
		w.Write(body)
	}))
	defer server.Close()
	g, err := openGate(strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	client := &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	echo := func(text string) (string, error) {
		resp, err := client.Post(g.url(), "text/plain", strings.NewReader(text))
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return string(body), err
	}
	if got, err := echo("hello"); got != "hello" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	held := make(chan struct{})
	hold := func(mode string) {
		go func() {
			defer close(held)
			g.hold(ctx, mode)
		}()
		for g.now() != destinationDown && g.now() != mode {
			time.Sleep(time.Millisecond)
		}
	}
	hold(destinationDown)
	if got, err := echo("hello"); err == nil {
		t.Errorf("down, and it answers %q", got)
	}
	cancel()
	<-held
	if got, err := echo("hello again"); got != "hello again" || err != nil {
		t.Errorf("up again: %q, %v", got, err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	held = make(chan struct{})
	hold(destinationSlow)
	begin := time.Now()
	long := strings.Repeat("x", 5*slowChunk)
	if got, err := echo(long); got != long || err != nil {
		t.Errorf("slow: %d bytes, %v", len(got), err)
	}
	if took := time.Since(begin); took < 4*slowPause {
		t.Errorf("slow took %v", took)
	}
	cancel()
	<-held
}

// A gate whose destination is gone lets nobody wait.
func TestGateWithoutDestination(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := listener.Addr().String()
	listener.Close()
	g, err := openGate(target)
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	conn, err := net.Dial("tcp", g.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("it sends something")
	}
}
