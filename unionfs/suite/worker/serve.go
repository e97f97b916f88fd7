package worker

import (
	"bufio"
	"encoding/gob"
	"fmt"
	"io"
	"os"

	"github.com/unionmount/unionmount/unionfs/suite/op"
	"golang.org/x/sys/unix"
)

// Main serves and exits if this process was started as a worker. It returns at once if not.
func Main() {
	if os.Getenv(marker) == "" {
		return
	}
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve answers requests until there are no more.
func serve(in io.Reader, out io.Writer) error {
	dec := gob.NewDecoder(bufio.NewReader(in))
	w := bufio.NewWriter(out)
	enc := gob.NewEncoder(w)
	var union, plain *op.Side
	for {
		var req request
		if err := dec.Decode(&req); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		var resp response
		if req.Setup != nil {
			unix.Umask(0o022)
			union = op.NewSide(req.Setup.Union, false, req.Setup.HeldBack, req.Setup.Start)
			plain = op.NewSide(req.Setup.Plain, true, req.Setup.HeldBack, req.Setup.Start)
		} else {
			resp = execute(req, union, plain)
		}
		if err := enc.Encode(resp); err != nil {
			return err
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
}

func execute(req request, union, plain *op.Side) response {
	var resp response
	if req.Sides&Union != 0 && !req.Op.Drop {
		resp.Union = union.Do(req.Op)
	}
	if req.Sides&Plain != 0 {
		resp.Plain = plain.Do(req.Op)
	}
	if req.Op.Drop {
		resp.Union = resp.Plain
		resp.Union.Seen = nil
	}
	return resp
}
