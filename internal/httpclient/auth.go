package httpclient

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// BasicAuth is a user and a password.
type BasicAuth struct {
	Username string
	Password string
	// PasswordFile is read instead of Password, and again when it changes.
	PasswordFile string
}

// authorizer sets the Authorization header. Exactly one of its ways is set, or
// none.
type authorizer struct {
	basic  bool
	scheme string
	user   string
	secret string
	file   *secretFile
}

func newAuthorizer(o Options) (*authorizer, error) {
	a := &authorizer{secret: o.BearerToken, scheme: o.TokenScheme}
	if a.scheme == "" {
		a.scheme = "Bearer"
	}
	file := o.BearerTokenFile
	if o.BasicAuth != nil {
		if o.BearerToken != "" || o.BearerTokenFile != "" {
			return nil, errors.New("both basic_auth and a bearer token are set: keep one")
		}
		if o.BasicAuth.Username == "" {
			return nil, errors.New("basic_auth has no username")
		}
		if strings.Contains(o.BasicAuth.Username, ":") {
			return nil, errors.New("the username of basic_auth holds a ':', which separates it from the password")
		}
		a = &authorizer{basic: true, user: o.BasicAuth.Username, secret: o.BasicAuth.Password}
		file = o.BasicAuth.PasswordFile
	}
	if file != "" {
		if a.secret != "" {
			return nil, fmt.Errorf("a secret and its file %q are both set: keep one", file)
		}
		a.file = &secretFile{path: file}
		if _, err := a.file.read(); err != nil {
			return nil, err
		}
	}
	if !a.basic && !validHeaderValue(a.secret) {
		return nil, errors.New("the bearer token holds a character that no header can carry")
	}
	return a, nil
}

// authorize sets the header and returns the secrets that it used. A secret's
// file that can't be read is an error; it may be readable again later.
func (a *authorizer) authorize(h http.Header) (secrets []string, err error) {
	secret := a.secret
	if a.file != nil {
		if secret, err = a.file.read(); err != nil {
			return nil, err
		}
	}
	switch {
	case a.basic:
		pair := base64.StdEncoding.EncodeToString([]byte(a.user + ":" + secret))
		h.Set("Authorization", "Basic "+pair)
		return secretsOf(pair, secret), nil
	case secret != "":
		h.Set("Authorization", a.scheme+" "+secret)
		return secretsOf(secret), nil
	}
	return nil, nil
}

// secretsOf returns what of values must not be shown. Replacing the shortest
// ones everywhere would only tell what they are.
func secretsOf(values ...string) []string {
	return slices.DeleteFunc(values, func(v string) bool { return len(v) < 4 })
}

// reserved are the headers that the sinks, or the transport, set themselves.
var reserved = []string{
	"Content-Type", "Content-Encoding", "Content-Length", "Transfer-Encoding", "Connection", "User-Agent",
}

// checkHeaders returns the configured headers, and the value of Host, which
// net/http does not take from them.
func checkHeaders(o Options) (headers http.Header, host string, err error) {
	headers = http.Header{}
	if o.UserAgent != "" {
		headers.Set("User-Agent", o.UserAgent)
	}
	for name, value := range o.Headers {
		canonical := http.CanonicalHeaderKey(name)
		switch {
		case !validHeaderName(name):
			return nil, "", fmt.Errorf("header %q is not a valid name", name)
		case !validHeaderValue(value):
			return nil, "", fmt.Errorf("the value of header %q holds a character that no header can carry", name)
		case slices.Contains(reserved, canonical):
			return nil, "", fmt.Errorf("header %q is set by the sink itself: remove it", name)
		case canonical == "Authorization" && (o.BasicAuth != nil || o.BearerToken != "" || o.BearerTokenFile != ""):
			return nil, "", fmt.Errorf("header %q contradicts basic_auth or the bearer token: keep one", name)
		case canonical == "Host":
			host = value
		default:
			headers.Set(canonical, value)
		}
	}
	return headers, host, nil
}

// headerSecrets returns the values of the configured headers, any of which may
// be a key.
func (c *Client) headerSecrets() []string {
	var values []string
	for _, v := range c.options.Headers {
		values = append(values, v)
	}
	return secretsOf(values...)
}

// validHeaderName reports whether s is a token of RFC 9110, section 5.6.2.
func validHeaderName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letterOrDigit := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letterOrDigit && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

// validHeaderValue reports whether s has no control characters.
func validHeaderValue(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
