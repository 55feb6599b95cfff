package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"log_capturer/internal/httpclient"
)

// SASL is how the agent logs in.
type SASL struct {
	// Mechanism is "plain", "scram-sha-256" or "scram-sha-512".
	Mechanism string
	Username  string
	Password  string
	// PasswordFile is read instead of Password, and again when it changes.
	PasswordFile string
}

// mechanism returns the mechanism, which asks for the password at each login.
func (o *SASL) mechanism() (sasl.Mechanism, error) {
	if o.Username == "" {
		return nil, errors.New("sasl has no username")
	}
	password := func() (string, error) { return o.Password, nil }
	if o.PasswordFile != "" {
		password = httpclient.SecretFile(o.PasswordFile)
		if _, err := password(); err != nil {
			return nil, err
		}
	}
	login := func(context.Context) (scram.Auth, error) {
		secret, err := password()
		return scram.Auth{User: o.Username, Pass: secret}, err
	}
	switch o.Mechanism {
	case "plain":
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			secret, err := password()
			return plain.Auth{User: o.Username, Pass: secret}, err
		}), nil
	case "scram-sha-256":
		return scram.Sha256(login), nil
	case "scram-sha-512":
		return scram.Sha512(login), nil
	}
	return nil, fmt.Errorf("sasl mechanism %q is unknown: use plain, scram-sha-256 or scram-sha-512", o.Mechanism)
}

// dialTimeout bounds one connecting, TLS included.
const dialTimeout = 10 * time.Second

// dialer connects to brokers. The files of TLS are read for each connection.
type dialer struct{ tls *httpclient.TLS }

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil || d.tls == nil {
		return conn, err
	}
	config, err := d.tls.Config()
	if err == nil {
		if config.ServerName == "" {
			config.ServerName, _, err = net.SplitHostPort(address)
		}
		secured := tls.Client(conn, config)
		if err == nil {
			err = secured.HandshakeContext(ctx)
		}
		if err == nil {
			return secured, nil
		}
	}
	return nil, errors.Join(err, conn.Close())
}

// trouble keeps the last error that the client has told in its log: it tries
// for ever by itself, and says there why.
type trouble struct {
	logger *slog.Logger

	mu  sync.Mutex
	err error
}

// Level implements kgo.Logger.
func (*trouble) Level() kgo.LogLevel { return kgo.LogLevelWarn }

// Log implements kgo.Logger. The delivery tells of what lasts; this is for
// debugging.
func (t *trouble) Log(level kgo.LogLevel, message string, keyvals ...any) {
	t.logger.Debug("kafka_client", "level", level.String(), "message", message, "details", fmt.Sprint(keyvals...))
	for i := 0; i+1 < len(keyvals); i += 2 {
		err, ok := keyvals[i+1].(error)
		// That something of the client's own has ended is no reason.
		if ok && keyvals[i] == "err" && !errors.Is(err, context.Canceled) && !errors.Is(err, net.ErrClosed) {
			t.mu.Lock()
			t.err = err
			t.mu.Unlock()
		}
	}
}

func (t *trouble) last() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

func (t *trouble) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = nil
}
