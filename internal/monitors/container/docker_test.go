package container

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
)

// A list is all of it or an error: what it lacks is taken for removed.
func TestList(t *testing.T) {
	status, body := http.StatusOK, ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/engine/containers/json" || r.URL.RawQuery != "all=1" {
			t.Errorf("asked is %s %s", r.Method, r.URL)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	address := "tcp://" + strings.TrimPrefix(server.URL, "http://") + "/engine"
	docker, err := NewDocker(address)
	if err != nil {
		t.Fatal(err)
	}
	defer docker.Close()
	f := func(code int, answer string, want []Info, words ...string) {
		t.Helper()
		status, body = code, answer
		got, err := docker.List(t.Context())
		if !reflect.DeepEqual(got, want) || (err == nil) != (len(words) == 0) {
			t.Errorf("%d %s: got %+v, %v; want %+v", code, answer, got, err, want)
		}
		for _, word := range words {
			if err != nil && !strings.Contains(err.Error(), word) {
				t.Errorf("%d %s: error %v, want %q in it", code, answer, err, word)
			}
		}
	}
	const one = `{"Id":"a","Names":["/web","/db/alias"],"Image":"i:1","ImageID":"sha256:0","Labels":{"k":"v"},"State":"paused","Mounts":[{"Type":"bind"}]}`
	web := Info{ID: "a", Name: "web", Image: "i:1", Labels: map[string]string{"k": "v"}, Running: true}
	f(http.StatusOK, `[]`, nil)
	f(http.StatusOK, `[`+one+`,{"Id":"b","Names":null,"State":"exited"}]`+"\n", []Info{web, {ID: "b"}})
	f(http.StatusOK, `[`+one+`,`, nil, "list containers")
	f(http.StatusOK, `[`+one, nil, "list containers")
	f(http.StatusOK, ``, nil, "list containers")
	f(http.StatusOK, `{"message":"x"}`, nil, "no list")
	f(http.StatusOK, `{}`, nil, "no list")
	f(http.StatusOK, `null`, nil, "no list")
	f(http.StatusInternalServerError, `{"message":"out of order"}`, nil, "500", "out of order")
	f(http.StatusBadGateway, `<html>`, nil, "502")
	server.Close()
	f(0, "", nil, "list containers", "Cannot connect to the Docker daemon at "+address)
}
