package health

import (
	"encoding/json"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWorst(t *testing.T) {
	f := func(want Status, components ...Component) {
		t.Helper()
		if got := Worst(components); got != want {
			t.Errorf("the worst of %v is %v, want %v", components, got, want)
		}
	}
	f(Healthy)
	f(Healthy, Component{}, Component{})
	f(Degraded, Component{}, Component{Status: Degraded})
	f(Unhealthy, Component{Status: Unhealthy}, Component{Status: Degraded})
}

func TestJSON(t *testing.T) {
	got, err := json.Marshal([]Component{{Name: "a"}, {Name: "b", Status: Degraded, Reason: "why"}, {Name: "c", Status: Unhealthy}})
	want := `[{"name":"a","status":"healthy"},{"name":"b","status":"degraded","reason":"why"},{"name":"c","status":"unhealthy"}]`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
}
