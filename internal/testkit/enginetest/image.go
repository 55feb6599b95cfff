package enginetest

import (
	"context"
	"sync"

	"log_capturer/internal/testkit/writerimage"
)

// Image is the name of the image that the containers are made from.
const Image = writerimage.Name

// loaded remembers the engines whose image was seen to in this process.
var loaded struct {
	sync.Mutex
	hosts map[string]bool
}

func ensureImage(e *Engine) error {
	loaded.Lock()
	defer loaded.Unlock()
	if loaded.hosts[e.Host] {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if err := writerimage.Ensure(ctx, e.Client); err != nil {
		return err
	}
	if loaded.hosts == nil {
		loaded.hosts = map[string]bool{}
	}
	loaded.hosts[e.Host] = true
	return nil
}
