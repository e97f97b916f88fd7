package sys

import (
	"os"
	"strings"
	"testing"
)

// TestRoomForDescriptors: the table has the size that was asked for (FDSize of proc_pid_status(5)).
func TestRoomForDescriptors(t *testing.T) {
	if _, err := RaiseNoFile(); err != nil {
		t.Fatal(err)
	}
	if err := RoomForDescriptors(512); err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(status), "FDSize:\t512\n") {
		t.Errorf("no table of 512: %s", status)
	}
	if err := RoomForDescriptors(1 << 40); err == nil {
		t.Error("a table beyond the limit was made")
	}
}
