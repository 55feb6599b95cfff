package container

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
)

// A list is all of it or an error: what it lacks is taken for removed. The engine
// may be named by its address in any form that Docker's own client takes.
func TestList(t *testing.T) {
	answer := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		if strings.HasSuffix(r.URL.Path, "/containers/json") {
			fmt.Fprint(w, answer)
		}
	}))
	defer server.Close()
	const one = `{"Id":"a","Names":["/web","/db/alias"],"Image":"i:1","ImageID":"sha256:0","Labels":{"k":"v"},"State":"paused","Mounts":[{"Type":"bind"}]}`
	web := Info{ID: "a", Name: "web", Image: "i:1", Labels: map[string]string{"k": "v"}, Running: true}
	for _, scheme := range []string{"tcp", "http"} {
		docker, err := NewDocker(scheme + strings.TrimPrefix(server.URL, "http"))
		if err != nil {
			t.Fatal(err)
		}
		f := func(text string, want []Info, ok bool) {
			t.Helper()
			answer = text
			got, err := docker.List(t.Context())
			if (err == nil) != ok || len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
				t.Errorf("%s, %s: got %+v, %v; want %+v", scheme, text, got, err, want)
			}
		}
		f(`[]`, nil, true)
		f(`[`+one+`,{"Id":"b","Names":null,"State":"exited"}]`, []Info{web, {ID: "b"}}, true)
		f(`[`+one+`,`, nil, false)
		f(`[`+one, nil, false)
		f(``, nil, false)
		f(`{"message":"x"}`, nil, false)
		if err := docker.Close(); err != nil {
			t.Error(err)
		}
	}
}
