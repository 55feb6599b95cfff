package httpclient

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
)

// TLS configures how an https destination is recognised, and how the agent
// proves who it is. All files are read again when they change.
type TLS struct {
	// CAFile holds the PEM certificates of the authorities that are trusted,
	// instead of the system's.
	CAFile string
	// CertFile and KeyFile are the client certificate and its key.
	CertFile, KeyFile string
	// ServerName is the name that the destination's certificate must have, when
	// it differs from the one in the URL.
	ServerName string
	// InsecureSkipVerify takes any certificate.
	InsecureSkipVerify bool
}

// files returns the files that the configuration is made of.
func (t TLS) files() []string {
	return slices.DeleteFunc([]string{t.CAFile, t.CertFile, t.KeyFile}, func(f string) bool { return f == "" })
}

// Config returns the configuration, made from what the files hold now.
func (t TLS) Config() (*tls.Config, error) {
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         t.ServerName,
		InsecureSkipVerify: t.InsecureSkipVerify, //nolint:gosec // asked for by name, off by default
	}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read CA certificates: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read CA certificates: %q holds no PEM certificate", t.CAFile)
		}
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		return nil, errors.New("a client certificate needs both cert_file and key_file")
	}
	if t.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("load client certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}

// transports holds the transport in use, and replaces it when a TLS file
// changes: connections that were made with the old files end with their
// requests.
type transports struct {
	tls          TLS
	maxIdleConns int
	http2        bool
	logger       *slog.Logger
	files        []string

	mu       sync.Mutex
	current  *http.Transport
	versions []version
	closed   bool
}

// defaultMaxIdleConns is used when Options.MaxIdleConns is zero.
const defaultMaxIdleConns = 8

func newTransports(o Options) (*transports, error) {
	t := &transports{
		tls:          o.TLS,
		maxIdleConns: o.MaxIdleConns,
		http2:        o.HTTP2,
		logger:       o.Logger,
		files:        o.TLS.files(),
	}
	if t.maxIdleConns <= 0 {
		t.maxIdleConns = defaultMaxIdleConns
	}
	t.versions = make([]version, len(t.files))
	t.refreshVersions()
	var err error
	t.current, err = t.make()
	return t, err
}

func (t *transports) make() (*http.Transport, error) {
	config, err := t.tls.Config()
	if err != nil {
		return nil, err
	}
	// One request at a time on a connection: HTTP/2 would put all workers'
	// requests on one, to wait behind each other's bodies.
	var protocols http.Protocols
	protocols.SetHTTP1(!t.http2)
	protocols.SetHTTP2(t.http2)
	protocols.SetUnencryptedHTTP2(t.http2)
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxIdleConns:           t.maxIdleConns,
		MaxIdleConnsPerHost:    t.maxIdleConns,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		WriteBufferSize:        32 << 10,
		DisableCompression:     true,
		Protocols:              &protocols,
	}, nil
}

// acquire returns the transport for one request, which must be released.
func (t *transports) acquire() *http.Transport {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refreshVersions() {
		next, err := t.make()
		if err != nil {
			// Half of a rotation is seen now and then: the old files are good
			// until the new ones are, and the next change is tried again.
			t.logger.Warn("tls_files_unusable_kept_earlier", "error", err)
			return t.current
		}
		t.logger.Info("tls_files_read_again", "files", t.files)
		t.current.CloseIdleConnections()
		t.current = next
	}
	return t.current
}

// release ends the use of a transport. Connections of one that was replaced
// meanwhile are closed, since nobody asks it for them again.
func (t *transports) release(used *http.Transport) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if used != t.current || t.closed {
		used.CloseIdleConnections()
	}
}

func (t *transports) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.current.CloseIdleConnections()
}

// refreshVersions notes the files' versions and reports whether one changed. A
// file that is missing keeps its version: it was moved away, and another one
// takes its place.
func (t *transports) refreshVersions() bool {
	changed := false
	for i, file := range t.files {
		v, err := versionOf(file)
		if err == nil && !v.equal(t.versions[i]) {
			t.versions[i], changed = v, true
		}
	}
	return changed
}
