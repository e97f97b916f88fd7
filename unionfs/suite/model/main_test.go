package model

import (
	"os"
	"testing"

	"github.com/unionmount/unionmount/unionfs/suite/worker"
)

func TestMain(m *testing.M) {
	worker.Main()
	os.Exit(m.Run())
}
