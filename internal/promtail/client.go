package promtail

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// client converts one of Promtail's clients to a sink.
func (c *converter) client(n node, i, of int) yaml.MapSlice {
	sink := yaml.MapSlice{item("type", "loki")}
	name := n.get("name").text()
	if name == "" && of > 1 {
		name = fmt.Sprintf("loki-%d", i+1)
	}
	put := func(key, value string) {
		if value != "" {
			sink = append(sink, item(key, escape(value)))
		}
	}
	put("name", name)
	url, username, password := c.address(n.get("url"))
	put("url", url)
	labels := yaml.MapSlice{}
	for _, e := range n.get("external_labels").entries() {
		labels = append(labels, item(e.key, template(e.value.text())))
	}
	if len(c.fileSets) > 0 {
		labels = append(labels, item("filename", "{file_path}"))
	}
	if len(labels) == 0 && len(c.labelNames) == 0 {
		labels = append(labels, item("container", "{container_name}"))
	}
	sink = append(sink, item("labels", labels))
	if len(c.labelNames) > 0 {
		sink = append(sink, item("record_labels", slices.Sorted(maps.Keys(c.labelNames))))
	}
	sink = append(sink, item("structured_metadata", yaml.MapSlice{}))
	if tenant := n.get("tenant_id").text(); tenant != "" {
		sink = append(sink, item("tenant", template(tenant)))
	}
	if auth := n.get("basic_auth"); auth.exists() {
		section := yaml.MapSlice{}
		for _, key := range []string{"username", "password", "password_file"} {
			if value := auth.get(key).text(); value != "" {
				section = append(section, item(key, escape(value)))
			}
		}
		sink = append(sink, item("basic_auth", section))
		c.leftOver(auth, "username", "password", "password_file")
	} else if username != "" {
		sink = append(sink, item("basic_auth", yaml.MapSlice{item("username", escape(username)), item("password", escape(password))}))
	}
	put("bearer_token", n.get("bearer_token").text())
	put("bearer_token_file", n.get("bearer_token_file").text())
	if tls := n.get("tls_config"); tls.exists() {
		section := yaml.MapSlice{}
		for _, key := range []string{"ca_file", "cert_file", "key_file", "server_name", "insecure_skip_verify"} {
			if value := tls.get(key); value.exists() {
				section = append(section, item(key, value.scalar()))
			}
		}
		sink = append(sink, item("tls", section))
		c.leftOver(tls, "ca_file", "cert_file", "key_file", "server_name", "insecure_skip_verify")
	}
	if headers := n.get("headers"); headers.exists() {
		section := yaml.MapSlice{}
		for _, e := range headers.entries() {
			section = append(section, item(e.key, escape(e.value.text())))
		}
		sink = append(sink, item("headers", section))
	}
	put("linger", n.get("batchwait").text())
	put("batch_bytes", n.get("batchsize").text())
	put("timeout", n.get("timeout").text())
	backoff := n.get("backoff_config")
	put("min_backoff", backoff.get("min_period").text())
	put("max_backoff", backoff.get("max_period").text())
	if retries := backoff.get("max_retries"); retries.exists() {
		c.note(retries, "is not carried over: what a destination does not take is tried again until it does")
	}
	c.leftOver(backoff, "min_period", "max_period", "max_retries")
	c.leftOver(n, "name", "url", "external_labels", "tenant_id", "basic_auth", "bearer_token", "bearer_token_file",
		"tls_config", "headers", "batchwait", "batchsize", "timeout", "backoff_config")
	return sink
}

// address returns the URL of a client, and the credentials that it holds, which a
// URL has no place for here.
func (c *converter) address(n node) (url, username, password string) {
	url = n.text()
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		if url != "" && !strings.HasPrefix(url, dollar) {
			c.note(n, "has no scheme: http:// is put before it")
			url = "http://" + url
		}
		return url, "", ""
	}
	// A slash may stand in a password that is a variable's fallback, but an @ is
	// in no host.
	host, path, _ := strings.Cut(rest, "/")
	at := strings.LastIndex(host, "@")
	if at < 0 {
		return url, "", ""
	}
	username, password, _ = strings.Cut(host[:at], ":")
	url = scheme + "://" + host[at+1:]
	if path != "" {
		url += "/" + path
	}
	return url, username, password
}
