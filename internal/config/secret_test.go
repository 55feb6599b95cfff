package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSecretFromFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	f := func(content, want string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := parsed(t, "sinks:\n- {type: loki, url: http://l, bearer_token_file: '${TOKEN_FILE}'}", "TOKEN_FILE", path)
		if got := cfg.Sinks[0].Loki.Auth.BearerToken.Reveal(); got != want {
			t.Errorf("the file %q gives %q, want %q", content, got, want)
		}
	}
	f("abc", "abc")
	f("abc\n", "abc")
	f("abc\r\n", "abc")
	f("abc\n\n", "abc\n")
	f(" a${X} ", " a${X} ") // a file is not expanded

	if err := os.WriteFile(path, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Parse("c.yaml", []byte("sinks:\n- {type: loki, url: http://l, bearer_token_file: "+path+"}"), environment())
	if want := "c.yaml:2:50: sinks[0].bearer_token_file: " + path + " is empty"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestTLSFiles(t *testing.T) {
	f := func(keys, want string) {
		t.Helper()
		text := "sinks:\n- type: loki\n  url: https://l\n  tls: {" + keys + "}\n"
		_, err := parse("c.yaml", []byte(text), environment(), readTestPEM(t))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s\ngot  %s\nwant %s", keys, got, want)
		}
	}
	f("ca_file: ca.pem, cert_file: client.pem, key_file: client-key.pem", "")
	f("ca_file: client-key.pem", "c.yaml:4:18: sinks[0].tls.ca_file: client-key.pem holds no certificate in PEM format")
	f("cert_file: client-key.pem, key_file: client.pem", "c.yaml:4:20: sinks[0].tls.cert_file: "+
		"cert_file and key_file cannot be used: tls: failed to find certificate PEM data in certificate input, "+
		"but did find a private key; PEM inputs may have been switched")
}

// readTestPEM returns a reader of files of which every one with "key" in its
// name holds a key, and all others the certificate of that key.
func readTestPEM(t *testing.T) func(string) ([]byte, error) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	certDER, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return func(path string) ([]byte, error) {
		if strings.Contains(path, "key") {
			return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certDER}), nil
	}
}
