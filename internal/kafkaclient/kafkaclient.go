// Package kafkaclient is what the Kafka sink and the Kafka source share: how
// brokers are connected and logged in to, and what the client library has to say
// of its troubles. What is produced and consumed is theirs.
package kafkaclient

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

// Options say how brokers are reached.
type Options struct {
	// Brokers are the addresses of one or more brokers, host:port, from which
	// the others are learned.
	Brokers []string
	// RequestTimeout is how long a broker has for an answer, 10 s when zero.
	RequestTimeout time.Duration
	// LookInterval is the least time between two questions about who leads which
	// partition, which follow each failure. 1 s when zero.
	LookInterval time.Duration
	// SASL is how the agent logs in, nil for not at all.
	SASL *SASL
	// TLS secures the connections, nil for none.
	TLS *httpclient.TLS
	// Logger is told of the client's troubles, for debugging; nil is silent.
	Logger *slog.Logger
}

// Client returns the options of a client, and where its troubles are kept. It
// checks all that o says, reads the files that it names, and dials nothing.
func (o Options) Client() ([]kgo.Opt, *Trouble, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if len(o.Brokers) == 0 {
		return nil, nil, errors.New("brokers is empty: write for instance [kafka:9092]")
	}
	if o.RequestTimeout <= 0 {
		o.RequestTimeout = 10 * time.Second
	}
	if o.LookInterval <= 0 {
		o.LookInterval = time.Second
	}
	trouble := &Trouble{logger: o.Logger}
	options := []kgo.Opt{
		kgo.SeedBrokers(o.Brokers...),
		kgo.ClientID("log_capturer"),
		kgo.RequestTimeoutOverhead(o.RequestTimeout),
		kgo.MetadataMinAge(o.LookInterval),
		kgo.WithLogger(trouble),
		kgo.Dialer((&dialer{tls: o.TLS}).dial),
	}
	if o.TLS != nil {
		if _, err := o.TLS.Config(); err != nil {
			return nil, nil, err
		}
	}
	if o.SASL != nil {
		mechanism, err := o.SASL.mechanism()
		if err != nil {
			return nil, nil, err
		}
		options = append(options, kgo.SASL(mechanism))
	}
	return options, trouble, nil
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

// Trouble keeps the last error that the client has told in its log: it tries
// for ever by itself, and says there why.
type Trouble struct {
	logger *slog.Logger

	mu  sync.Mutex
	err error
	at  time.Time
}

// freshness is how long a trouble counts. A client that has one says so again
// and again.
const freshness = time.Minute

// Level implements kgo.Logger.
func (*Trouble) Level() kgo.LogLevel { return kgo.LogLevelWarn }

// Log implements kgo.Logger. The delivery tells of what lasts; this is for
// debugging.
func (t *Trouble) Log(level kgo.LogLevel, message string, keyvals ...any) {
	t.logger.Debug("kafka_client", "level", level.String(), "message", message, "details", fmt.Sprint(keyvals...))
	for i := 0; i+1 < len(keyvals); i += 2 {
		err, ok := keyvals[i+1].(error)
		// That something of the client's own has ended is no reason.
		if ok && keyvals[i] == "err" && !errors.Is(err, context.Canceled) && !errors.Is(err, net.ErrClosed) {
			t.mu.Lock()
			t.err, t.at = err, time.Now()
			t.mu.Unlock()
		}
	}
}

// Last returns the last trouble, nil for none since Clear or in the last minute.
func (t *Trouble) Last() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.at) > freshness {
		return nil
	}
	return t.err
}

// Clear forgets it: all is well again.
func (t *Trouble) Clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = nil
}
