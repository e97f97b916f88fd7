package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// requestLimit bounds what a client can make us keep in memory.
const requestLimit = 1 << 20

// Method answers one method of the protocol.
type Method func(context.Context, Request) (Answer, error)

// Handler answers requests by methods, each in a goroutine of its own, and
// Activate itself. An error is the answer's Err, with status 500 as Docker's own
// library for plugins has it.
func Handler(methods map[string]Method) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /"+Activate, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, Answer{Implements: []string{VolumeDriver}})
	})
	for name, method := range methods {
		mux.HandleFunc("POST /"+name, func(w http.ResponseWriter, r *http.Request) {
			var q Request
			if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, requestLimit)).Decode(&q); err != nil {
				reply(w, http.StatusBadRequest, Answer{Err: fmt.Sprintf("%s: the request is not of the protocol: %v", name, err)})
				return
			}
			a, err := method(r.Context(), q)
			if err != nil {
				reply(w, http.StatusInternalServerError, Answer{Err: err.Error()})
				return
			}
			reply(w, http.StatusOK, a)
		})
	}
	return mux
}

func reply(w http.ResponseWriter, status int, a Answer) {
	w.Header().Set("Content-Type", ContentType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(a) // the client is gone: nobody to tell
}
