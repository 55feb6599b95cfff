package httpclient

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

// smallBytes is the largest body that is copied for its request.
const smallBytes = 24 << 10

// small returns a body that is a copy of data. Of what is known to be in memory
// net/http sends the header and the body in one write, and a copy may be read for
// as long as it likes.
func small(data []byte) func() (io.ReadCloser, error) {
	data = bytes.Clone(data)
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

// payload is a request body whose buffer can be taken back.
//
// net/http may still be sending a body after RoundTrip has returned: when the
// destination answers before it has read all of it, the connection's writer
// goes on by itself. The buffer belongs to the caller and is filled again at
// once, so the writer must not see it any more.
type payload struct {
	mu       sync.Mutex
	data     []byte
	detached bool
}

var errDetached = errors.New("request has ended")

// detach takes the buffer back. Readers get an error from then on, which makes
// the transport close their connection.
func (p *payload) detach() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.data, p.detached = nil, true
}

// reader returns a body that starts at the payload's beginning. The transport
// asks for another one when a kept connection turns out to be dead before
// anything was sent.
func (p *payload) reader() (io.ReadCloser, error) { return &payloadReader{payload: p}, nil }

type payloadReader struct {
	payload *payload
	offset  int
}

func (r *payloadReader) Read(dst []byte) (int, error) {
	r.payload.mu.Lock()
	defer r.payload.mu.Unlock()
	if r.payload.detached {
		return 0, errDetached
	}
	if r.offset == len(r.payload.data) {
		return 0, io.EOF
	}
	n := copy(dst, r.payload.data[r.offset:])
	r.offset += n
	return n, nil
}

func (r *payloadReader) Close() error { return nil }
