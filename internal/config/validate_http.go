package config

import (
	"crypto/tls"
	"crypto/x509"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

func (v validator) http(h *HTTP, path string) {
	v.url(h.URL, h.Connection, path, "the destination", "http://logs:9428/insert/jsonline", true)
	v.documents(h.Documents, path)
	v.httpAuth(h.Auth, path)
	v.headers(h.Auth, h.Connection, path)
	v.tls(&h.Connection.TLS, path+".tls")
}

// documents checks the names and templates of documents.
func (v validator) documents(d Documents, path string) {
	if d.LineField == "" {
		v.wrong(path+".line_field", "is empty; the line needs a name")
	}
	owners := map[string]string{"cut": "a mark", "continued": "a mark", "unterminated": "a mark"}
	take := func(key, name string) {
		if owner, ok := owners[name]; ok {
			v.wrong(key, "the name %q is that of %s already; give each its own", shorten(name), owner)
			return
		}
		owners[name] = strings.TrimPrefix(key, path+".")
	}
	if d.LineField != "" {
		take(path+".line_field", d.LineField)
		owners[d.LineField+"_base64"] = "line_field, in base64,"
	}
	if d.TimeField != "" {
		take(path+".time_field", d.TimeField)
	}
	if d.IDField != "" {
		take(path+".id_field", d.IDField)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Fields)) {
		key := path + ".fields." + shorten(name)
		if name == "" {
			v.wrong(key, "a field needs a name")
			continue
		}
		take(key, name)
		if t := v.template(key, d.Fields[name], nil); t != nil && t.UsesTime() {
			v.wrong(key, "{date} and {hour} have no place here: a document has the time of its record")
		}
	}
}

// url checks the address of a destination of the given name; example is one.
func (v validator) url(text string, c Connection, path, destination, example string, query bool) {
	v.urlAt(text, c, path+".url", path+".tls", destination, example, query)
}

// urlAt is url for an address that stands at path, with the tls section at tls.
func (v validator) urlAt(text string, c Connection, path, tls, destination, example string, query bool) {
	if text == "" {
		v.wrong(path, "url is missing; give the address of %s, as in %s", destination, example)
		return
	}
	// A URL may hold a password, and is not quoted.
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		v.wrong(path, "want an address such as %s or https://logs.example.com", example)
	case u.User != nil:
		v.wrong(path, "user and password do not belong in the address; use basic_auth")
	case u.Fragment != "" || u.RawQuery != "" && !query:
		v.wrong(path, "want an address without a query and a fragment")
	case u.Scheme == "http" && c.TLS != (TLS{}):
		v.contradiction([]string{tls, path},
			"tls has no effect: the url begins with http://")
	}
}

// httpAuth checks how a sink that speaks HTTP logs in.
func (v validator) httpAuth(l HTTPAuth, path string) {
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

// headers checks further headers.
func (v validator) headers(auth HTTPAuth, l Connection, path string) {
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
		case "Authorization":
			if auth.BasicAuth != nil || !auth.BearerToken.IsZero() {
				v.wrong(key, "the sink's credentials set this header; leave one of them out")
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

// tls checks that the files can be read and are what they are to be.
func (v validator) tls(t *TLS, path string) {
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
