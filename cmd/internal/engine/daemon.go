package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// ownSession detaches a daemon from the terminal and from its caller's signals.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// Daemon is the serving process: it reads its order, answers once, and serves
// until the mount is gone. What happens later goes to its log.
func Daemon() int {
	_ = os.WriteFile("/proc/self/comm", []byte("unionmount"), 0) // "exe" else, in ps and top
	say := os.NewFile(3, "answer")
	syscall.CloseOnExec(3)
	text, err := io.ReadAll(os.Stdin)
	var o order
	if err == nil {
		err = json.Unmarshal(text, &o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "read the order:", err)
		return 1
	}
	e := &Engine{Root: o.Root}
	serving := false
	err = e.serve(&o.Record, func(s *State) error {
		// Nobody there to hear it: the command was killed, and the mount isn't wanted.
		err := errors.Join(json.NewEncoder(say).Encode(answer{State: s}), say.Close())
		serving = err == nil
		return err
	})
	switch {
	case err == nil:
		return 0
	case serving:
		logger(o.Record.LogLevel).Error("the mount ended", "err", err)
		return 1
	}
	a := answer{What: "mount " + o.Record.Mountpoint, Kind: kindName(err), Why: err.Error()}
	var known *Error
	if errors.As(err, &known) {
		a.What, a.Why = known.What, known.Why.Error()
	}
	_ = json.NewEncoder(say).Encode(a)
	return 1
}

func logger(level string) *slog.Logger {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		l = slog.LevelInfo
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l}))
}

// catchSignals takes SIGINT and SIGTERM from now on, so that none is lost; a
// hang-up is nothing to us. onSignal then answers them.
func catchSignals() chan os.Signal {
	signal.Ignore(syscall.SIGHUP)
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	return c
}

// catchQuestions takes SIGUSR1, by which somebody asks what the daemon holds.
func catchQuestions() chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	return c
}

// onSignal calls do at each signal that was caught, also before.
func onSignal(c chan os.Signal, do func()) (stop func()) {
	go func() {
		for range c {
			do()
		}
	}()
	return func() { signal.Stop(c); close(c) }
}
