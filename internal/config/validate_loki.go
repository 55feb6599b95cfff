package config

import (
	"crypto/tls"
	"crypto/x509"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"log_capturer/internal/template"
)

var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

func (v validator) loki(l *Loki, path string) {
	v.lokiURL(l, path)
	v.lokiLabels(l, path)
	if l.Tenant != "" {
		v.timeless(path+".tenant", l.Tenant)
	}
	v.lokiAuth(l, path)
	v.lokiHeaders(l, path)
	v.lokiTLS(&l.TLS, path+".tls")
}

func (v validator) lokiURL(l *Loki, path string) {
	path += ".url"
	if l.URL == "" {
		v.wrong(path, "url is missing; give the address of Loki, as in http://loki:3100")
		return
	}
	// A URL may hold a password, and is not quoted.
	u, err := url.Parse(l.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		v.wrong(path, "want an address such as http://loki:3100 or https://logs.example.com")
	case u.User != nil:
		v.wrong(path, "user and password do not belong in the address; use basic_auth")
	case u.Fragment != "" || u.RawQuery != "":
		v.wrong(path, "want an address without a query and a fragment")
	case u.Scheme == "http" && l.TLS != (TLS{}):
		v.contradiction([]string{path[:len(path)-len("url")] + "tls", path},
			"tls has no effect: the url begins with http://")
	}
}

// lokiLabels checks labels and structured metadata.
func (v validator) lokiLabels(l *Loki, path string) {
	labels, metadata := path+".labels", path+".structured_metadata"
	if len(l.Labels) == 0 {
		v.wrong(labels, "is empty; Loki wants at least one label")
	}
	for _, name := range slices.Sorted(maps.Keys(l.Labels)) {
		key := labels + "." + shorten(name)
		v.labelName(key, name)
		t := v.timeless(key, l.Labels[name])
		if t == nil || l.AllowHighCardinality {
			continue
		}
		for _, placeholder := range t.Names() {
			if placeholder == "container_id" || placeholder == "container_short_id" {
				v.wrong(key, "a label with {%s} makes a new Loki stream of every container that is ever started; "+
					"move it to structured_metadata, or set allow_high_cardinality: true", placeholder)
			}
		}
	}
	if !v.isSet(metadata) {
		maps.DeleteFunc(l.StructuredMetadata, func(name, _ string) bool {
			_, isLabel := l.Labels[name]
			return isLabel
		})
	}
	for _, name := range slices.Sorted(maps.Keys(l.StructuredMetadata)) {
		key := metadata + "." + shorten(name)
		v.labelName(key, name)
		v.timeless(key, l.StructuredMetadata[name])
		if _, both := l.Labels[name]; both {
			v.wrong(key, "%s is a label as well; leave one of them out", shorten(name))
		}
	}
}

func (v validator) labelName(path, name string) {
	if !labelName.MatchString(name) {
		v.wrong(path, "want a name of letters, digits and _ that does not begin with a digit, not %q", shorten(name))
	} else if strings.HasPrefix(name, "__") {
		v.wrong(path, "names that begin with __ are Loki's own")
	}
}

// timeless compiles a template that must not depend on the time of a record. It
// returns nil when it is none.
func (v validator) timeless(path, text string) *template.Template {
	t := v.template(path, text, nil)
	if t != nil && t.UsesTime() {
		v.wrong(path, "{date} and {hour} have no place here: Loki keeps the time of every record")
		return nil
	}
	return t
}

func (v validator) lokiAuth(l *Loki, path string) {
	bearer := []string{path + ".bearer_token", path + ".bearer_token_file"}
	if l.BasicAuth != nil {
		if l.BasicAuth.Username == "" {
			v.wrong(path+".basic_auth.username", "username is missing")
		}
		if !l.BearerToken.IsZero() || l.BearerTokenFile != "" {
			v.contradiction(append([]string{path + ".basic_auth"}, bearer...),
				"basic_auth and bearer_token exclude each other; leave one of them out")
		}
	}
}

func (v validator) lokiHeaders(l *Loki, path string) {
	path += ".headers"
	for _, name := range slices.Sorted(maps.Keys(l.Headers)) {
		key := path + "." + shorten(name)
		if !isHeaderName(name) {
			v.wrong(key, "%q is no name of a header", shorten(name))
			continue
		}
		if strings.ContainsAny(l.Headers[name].Reveal(), "\r\n\x00") {
			v.wrong(key, "the value of a header is one line")
		}
		switch http.CanonicalHeaderKey(name) {
		case "Content-Type", "Content-Encoding", "Content-Length", "Host":
			v.wrong(key, "this header is set by the sink")
		case "X-Scope-Orgid":
			if l.Tenant != "" {
				v.wrong(key, "tenant sets this header; leave one of them out")
			}
		case "Authorization":
			if l.BasicAuth != nil || !l.BearerToken.IsZero() {
				v.wrong(key, "basic_auth or bearer_token sets this header; leave one of them out")
			}
		}
	}
}

// isHeaderName reports whether name is a token as RFC 9110 defines it.
func isHeaderName(name string) bool {
	const special = "!#$%&'*+-.^_`|~"
	for i := range len(name) {
		c := name[i]
		alphanumeric := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !alphanumeric && !strings.Contains(special, name[i:i+1]) {
			return false
		}
	}
	return name != ""
}

// lokiTLS checks that the files can be read and are what they are to be.
func (v validator) lokiTLS(t *TLS, path string) {
	ca, cert, key := path+".ca_file", path+".cert_file", path+".key_file"
	if t.CAFile != "" && !v.failed[ca] {
		pem, err := v.read(t.CAFile)
		if err != nil {
			v.wrong(ca, "%s", err)
		} else if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			v.wrong(ca, "%s holds no certificate in PEM format", shorten(t.CAFile))
		}
	}
	if t.CAFile != "" && t.InsecureSkipVerify {
		v.contradiction([]string{path + ".insecure_skip_verify", ca},
			"ca_file has no effect: insecure_skip_verify takes any certificate")
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		v.contradiction([]string{cert, key}, "cert_file and key_file are given together or not at all")
		return
	}
	if t.CertFile == "" || v.failed[cert] || v.failed[key] {
		return
	}
	certPEM, certErr := v.read(t.CertFile)
	if certErr != nil {
		v.wrong(cert, "%s", certErr)
	}
	keyPEM, keyErr := v.read(t.KeyFile)
	if keyErr != nil {
		v.wrong(key, "%s", keyErr)
	}
	if certErr != nil || keyErr != nil {
		return
	}
	if _, err := tls.X509KeyPair(certPEM, keyPEM); err != nil {
		v.wrong(cert, "cert_file and key_file cannot be used: %s", err)
	}
}
