package httpclient

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// authority issues certificates for tests.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

var serial atomic.Int64

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(serial.Add(1)),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t, cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// issue returns a certificate and its key for a host name or address, valid
// for the given time from now.
func (a *authority) issue(name string, valid time.Duration) (certPEM, keyPEM []byte) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial.Add(1)),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-2 * time.Hour),
		NotAfter:     time.Now().Add(valid),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// serveTLS serves with the certificate, and tells the common name of the
// client's.
func serveTLS(t *testing.T, certPEM, keyPEM []byte, clients *authority) *url.URL {
	t.Helper()
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) > 0 {
			w.Header().Set("X-Client", r.TLS.PeerCertificates[0].Subject.CommonName)
		}
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	if clients != nil {
		s.TLS.ClientAuth = tls.RequireAndVerifyClientCert
		s.TLS.ClientCAs = x509.NewCertPool()
		s.TLS.ClientCAs.AddCert(clients.cert)
	}
	s.Config.ErrorLog = discardLog
	s.StartTLS()
	t.Cleanup(s.Close)
	return parse(t, s.URL)
}

func writeFile(t *testing.T, path string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestServerCertificate(t *testing.T) {
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	dir := t.TempDir()
	ourCA := writeFile(t, filepath.Join(dir, "ours.pem"), ours.pem)
	f := func(a *authority, name string, valid time.Duration, o TLS, want string) {
		t.Helper()
		certPEM, keyPEM := a.issue(name, valid)
		_, err := mustNew(t, Options{TLS: o}).Post(t.Context(), serveTLS(t, certPEM, keyPEM, nil), nil, nil)
		if want == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q in it", name, err, want)
		}
	}
	f(ours, "127.0.0.1", time.Hour, TLS{CAFile: ourCA}, "")
	f(ours, "loki.example", time.Hour, TLS{CAFile: ourCA, ServerName: "loki.example"}, "")
	f(ours, "loki.example", time.Hour, TLS{CAFile: ourCA}, "127.0.0.1")
	f(ours, "loki.example", time.Hour, TLS{CAFile: ourCA, ServerName: "other.example"}, "not other.example")
	f(ours, "127.0.0.1", -time.Hour, TLS{CAFile: ourCA}, "expired")
	f(theirs, "127.0.0.1", time.Hour, TLS{CAFile: ourCA}, "unknown authority")
	f(ours, "127.0.0.1", time.Hour, TLS{}, "unknown authority")
	f(theirs, "loki.example", -time.Hour, TLS{InsecureSkipVerify: true}, "")
}

func TestClientCertificateIsReadAgain(t *testing.T) {
	ca := newAuthority(t, "ca")
	dir := t.TempDir()
	caFile := writeFile(t, filepath.Join(dir, "ca.pem"), ca.pem)
	certPEM, keyPEM := ca.issue("127.0.0.1", time.Hour)
	u := serveTLS(t, certPEM, keyPEM, ca)

	if _, err := mustNew(t, Options{TLS: TLS{CAFile: caFile}}).Post(t.Context(), u, nil, nil); err == nil {
		t.Error("a client without a certificate was let in")
	}

	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	install := func(name string) {
		t.Helper()
		certPEM, keyPEM := ca.issue(name, time.Hour)
		writeFile(t, certFile, certPEM)
		writeFile(t, keyFile, keyPEM)
	}
	install("agent-1")
	c := mustNew(t, Options{TLS: TLS{CAFile: caFile, CertFile: certFile, KeyFile: keyFile}})
	post := func(want string) {
		t.Helper()
		res, err := c.Post(t.Context(), u, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := res.Header.Get("X-Client"); got != want {
			t.Errorf("the destination saw %q, want %q", got, want)
		}
	}
	post("agent-1")
	install("agent-2-renewed")
	post("agent-2-renewed")

	// Half of a rotation: the certificate without its key.
	certPEM, keyPEM = ca.issue("agent-3", time.Hour)
	writeFile(t, certFile, certPEM)
	post("agent-2-renewed")
	writeFile(t, keyFile, keyPEM)
	post("agent-3")
}

func TestAuthorityIsReadAgain(t *testing.T) {
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs, renewed")
	caFile := writeFile(t, filepath.Join(t.TempDir(), "ca.pem"), theirs.pem)
	certPEM, keyPEM := ours.issue("127.0.0.1", time.Hour)
	u := serveTLS(t, certPEM, keyPEM, nil)
	c := mustNew(t, Options{TLS: TLS{CAFile: caFile}})
	if _, err := c.Post(t.Context(), u, nil, nil); err == nil {
		t.Fatal("an unknown authority was trusted")
	}
	writeFile(t, caFile, ours.pem)
	if _, err := c.Post(t.Context(), u, nil, nil); err != nil {
		t.Errorf("with the new authority: %v", err)
	}
}

// discardLog keeps the refused handshakes out of the test's output.
var discardLog = log.New(io.Discard, "", 0)
