package model

import (
	"errors"
	"testing"

	"github.com/unionmount/unionmount/unionfs/suite/op"
)

func concurrentConfig(t *testing.T) Config {
	cfg := testConfig(t)
	cfg.Workers, cfg.Ops = 4, 1500
	cfg.Fresh = plainState(t, Tops(4)...)
	return cfg
}

func TestConcurrentPlainDirectoriesAgree(t *testing.T) {
	if err := Concurrent(concurrentConfig(t)); err != nil {
		t.Fatal(err)
	}
}

func TestConcurrentFindsLostOperation(t *testing.T) {
	cfg := concurrentConfig(t)
	seen := 0
	cfg.drop = func(o op.Op) bool {
		if o.Worker == 2 && o.Kind == op.Fchmod {
			seen++
		}
		return o.Worker == 2 && o.Kind == op.Fchmod && seen > 3
	}
	var f *Failure
	if err := Concurrent(cfg); !errors.As(err, &f) {
		t.Fatalf("not found: %v", err)
	}
}
