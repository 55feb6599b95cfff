package config

import (
	"fmt"
	"strings"
)

func (v validator) elasticsearch(e *Elasticsearch, path string) {
	switch {
	case len(e.URLs) > 0 && e.CloudID != "":
		v.contradiction([]string{path + ".cloud_id", path + ".urls"}, "urls and cloud_id exclude each other; leave one of them out")
	case len(e.URLs) == 0 && e.CloudID == "":
		v.wrong(path+".urls", "urls is missing; give the addresses of Elasticsearch, as in [http://elasticsearch:9200], or cloud_id")
	}
	for i, text := range e.URLs {
		v.urlAt(text, e.Connection, fmt.Sprintf("%s.urls[%d]", path, i), path+".tls", "Elasticsearch", "http://elasticsearch:9200", true)
	}
	if e.CloudID != "" && !strings.Contains(e.CloudID, ":") {
		v.wrong(path+".cloud_id", "want a name, a colon and base64: copy it from the deployment's page")
	}
	if e.Index == "" {
		v.wrong(path+".index", "is empty; give an index or a data stream, as in logs-docker-default")
	} else if t := v.template(path+".index", e.Index, nil); t != nil {
		if own := strings.Join(textsOf(e.Index), ""); own != strings.ToLower(own) || strings.ContainsAny(own, `\/*?"<>| ,#:`) {
			v.wrong(path+".index", "%q has a capital letter or one of \\ / * ? \" < > | , # : or a space, which no index may have", shorten(e.Index))
		}
	}
	v.documents(e.Documents, path)
	if !e.APIKey.IsZero() && (e.Auth.BasicAuth != nil || !e.Auth.BearerToken.IsZero()) {
		v.contradiction([]string{path + ".api_key", path + ".api_key_file", path + ".basic_auth", path + ".bearer_token"},
			"api_key, basic_auth and bearer_token exclude each other; leave one of them alone")
	}
	v.httpAuth(e.Auth, path)
	auth := e.Auth
	if !e.APIKey.IsZero() {
		auth.BearerToken = e.APIKey // it sets the same header
	}
	v.headers(auth, e.Connection, path)
	v.tls(&e.Connection.TLS, path+".tls")
}

// textsOf returns what stands between the placeholders of a template.
func textsOf(template string) []string {
	var texts []string
	for template != "" {
		text, rest, found := strings.Cut(template, "{")
		texts = append(texts, text)
		if !found {
			break
		}
		_, template, _ = strings.Cut(rest, "}")
	}
	return texts
}
