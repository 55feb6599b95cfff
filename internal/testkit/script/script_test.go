package script

import (
	"reflect"
	"testing"
	"time"

	"go.uber.org/goleak"

	"log_capturer/internal/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestArgKeepsEveryByte(t *testing.T) {
	s := Script{Out("\x00\xff\n"), Err("e"), Wait, Fill(record.Stdout, "ab", 3), {Sleep: time.Second}}
	got, err := Parse(s.Arg())
	if err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("parsed %v, %v", got, err)
	}
	if out, errs := string(got.Bytes(record.Stdout)), string(got.Bytes(record.Stderr)); out != "\x00\xff\nababab" || errs != "e" {
		t.Errorf("writes %q and %q", out, errs)
	}
	for _, bad := range []string{"", "{}", `[{"data":"?"}]`, `[{"dat":""}]`} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("parsed %q", bad)
		}
	}
}
