package httpclient

import (
	"errors"
	"fmt"
	"net/url"
)

// ParseURL returns the URL that text is: absolute, http or https, without
// credentials and without a fragment. Its errors show no password.
func ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		// The error repeats the URL, in which there may be a password.
		return nil, errors.New("url is not valid: write for instance http://logs:8080")
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return nil, fmt.Errorf("url %q is no absolute http or https URL: write for instance http://logs:8080", u.Redacted())
	case u.User != nil:
		return nil, errors.New("url holds credentials: move them to basic_auth")
	case u.Fragment != "":
		return nil, fmt.Errorf("url %q has a fragment, which is never sent", text)
	}
	return u, nil
}
