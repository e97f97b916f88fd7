package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// Docker's limits: what may move data has the longer one.
	longLimit  = 2 * time.Minute
	shortLimit = time.Minute
	// patience is how long a plugin may take to begin listening.
	patience = 30 * time.Second
	// answerLimit bounds what a plugin can make us keep in memory.
	answerLimit = 32 << 20
)

// Client calls one plugin. It activates it before the first call; it is safe for
// concurrent use.
type Client struct {
	name string
	base string // of every URL
	http *http.Client

	mu     sync.Mutex
	active bool
}

// Refusal is the plugin's own error, in its words.
type Refusal struct{ Method, Why string }

func (r *Refusal) Error() string { return r.Method + ": " + r.Why }

// NewClient makes a client; nothing is sent before the first Call.
func NewClient(name string, e Endpoint) *Client {
	dialer := &net.Dialer{}
	c := &Client{name: name, base: "http://plugin/", http: &http.Client{Transport: &http.Transport{
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, dialer, e) },
		TLSClientConfig: e.TLS, DisableCompression: true, MaxResponseHeaderBytes: 1 << 16,
		DisableKeepAlives: true, // a command calls once or twice; no connection outlives its call
	}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	switch {
	case e.TLS != nil:
		c.base = "https://" + e.Address + "/"
	case e.Network != "unix":
		c.base = "http://" + e.Address + "/"
	}
	return c
}

// dial waits for a plugin that is just starting, as Docker does: 1, 2, 4… seconds.
func dial(ctx context.Context, d *net.Dialer, e Endpoint) (net.Conn, error) {
	start := time.Now()
	for wait := time.Second; ; wait *= 2 {
		conn, err := d.DialContext(ctx, e.Network, e.Address)
		if err == nil || time.Since(start)+wait >= patience {
			return conn, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// Call calls one method. What the plugin itself refuses is a *Refusal.
func (c *Client) Call(ctx context.Context, method string, q Request) (Answer, error) {
	if err := c.activate(ctx); err != nil {
		return Answer{}, err
	}
	return c.call(ctx, method, q)
}

func (c *Client) activate(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active {
		return nil
	}
	a, err := c.call(ctx, Activate, nil)
	if err == nil && !slices.Contains(a.Implements, VolumeDriver) {
		err = fmt.Errorf("plugin %q is no volume plugin: it implements %q", c.name, a.Implements)
	}
	c.active = err == nil
	return err
}

func (c *Client) call(ctx context.Context, method string, q any) (a Answer, err error) {
	limit := shortLimit
	if method == Create || method == Mount {
		limit = longLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	start := time.Now()
	err = c.post(ctx, method, q, &a)
	var refused *Refusal
	switch {
	case err == nil:
		return a, nil
	case errors.As(err, &refused):
		return a, fmt.Errorf("plugin %q: %w", c.name, err)
	case ctx.Err() != nil:
		return a, fmt.Errorf("plugin %q: %s: no answer in %v: is it running? %w", c.name, method, time.Since(start).Round(100*time.Millisecond), err)
	}
	return a, fmt.Errorf("plugin %q: %s: %w", c.name, method, err)
}

func (c *Client) post(ctx context.Context, method string, q any, a *Answer) error {
	var body io.Reader
	if q != nil {
		text, err := json.Marshal(q)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+method, body)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", ContentType)
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit+1))
	switch {
	case err != nil:
		return fmt.Errorf("read the answer: %w", err)
	case len(text) > answerLimit:
		return fmt.Errorf("the answer is longer than %d MiB", answerLimit>>20)
	}
	err = json.Unmarshal(text, a)
	switch {
	case err == nil && a.Err != "":
		return &Refusal{method, a.Err}
	case resp.StatusCode != http.StatusOK:
		return &Refusal{method, strings.TrimSpace(fmt.Sprintf("%s: %s", resp.Status, shorten(text)))}
	case err != nil:
		return fmt.Errorf("the answer is not of the protocol: %w: %q", err, shorten(text))
	}
	return nil
}

// shorten keeps an error on a line.
func shorten(text []byte) string {
	const most = 200
	s := strings.Join(strings.Fields(strings.ToValidUTF8(string(text), "?")), " ")
	if len(s) > most {
		s = s[:most] + "…"
	}
	return s
}
