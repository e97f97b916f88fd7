package plugin

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// folders makes the two kinds of folders.
func folders(t *testing.T) (f Folders, sockets, specs string) {
	t.Helper()
	sockets, specs = t.TempDir(), t.TempDir()
	return Folders{[]string{sockets}, []string{t.TempDir(), specs}}, sockets, specs
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func serve(t *testing.T, l net.Listener, h http.Handler) {
	t.Helper()
	server := &http.Server{Handler: h}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
}

// one is a plugin that has one volume.
func one() http.Handler {
	return Handler(map[string]Method{
		Get: func(_ context.Context, q Request) (Answer, error) {
			if q.Name != "one" {
				return Answer{}, fmt.Errorf("get %s: no such volume", q.Name)
			}
			return Answer{Volume: &Volume{Name: "one", Mountpoint: "/one"}}, nil
		},
	})
}

// get asks the plugin of that name for a volume.
func get(ctx context.Context, f Folders, name, volume string) (Answer, error) {
	e, err := f.Find(name)
	if err != nil {
		return Answer{}, err
	}
	return NewClient(name, e).Call(ctx, Get, Request{Name: volume})
}

// TestDiscovery: sockets go before specs, specs before json, the first folder before the second.
func TestDiscovery(t *testing.T) {
	f, sockets, specs := folders(t)
	must(t, os.Mkdir(filepath.Join(sockets, "deep"), 0o755))
	must(t, os.Mkdir(filepath.Join(specs, "inner"), 0o755))
	listen(t, "unix", filepath.Join(sockets, "flat.sock"))
	listen(t, "unix", filepath.Join(sockets, "deep/deep.sock"))
	for name, text := range map[string]string{
		"flat.spec":        "unix:///not/taken.sock",
		"spec.spec":        " unix:///run/x.sock\n",
		"spec.json":        `{"Name": "spec", "Addr": "tcp://not-taken:1"}`,
		"inner/inner.json": `{"Name": "inner", "Addr": "tcp://host:99"}`,
		"plainfile.sock":   "not looked at here",
		"bad.spec":         "gopher://x",
		"none.spec":        "unix://relative/path",
		"portless.spec":    "tcp://host",
		"garbage.json":     "{",
		"noca.json":        `{"Addr": "tcp://host:1", "TLSConfig": {"CAFile": "/nonexistent"}}`,
	} {
		must(t, os.WriteFile(filepath.Join(specs, name), []byte(text), 0o644))
	}
	must(t, os.WriteFile(filepath.Join(sockets, "nosocket.sock"), nil, 0o644))
	for name, want := range map[string]string{
		"flat": "unix " + filepath.Join(sockets, "flat.sock"), "deep": "unix " + filepath.Join(sockets, "deep/deep.sock"),
		"spec": "unix /run/x.sock", "inner": "tcp host:99",
	} {
		if e, err := f.Find(name); err != nil || e.Network+" "+e.Address != want {
			t.Errorf("%s: %v %v, want %s", name, e, err, want)
		}
	}
	for _, name := range []string{"missing", "nosocket", "plainfile", "../sock", "a/b", "", "."} {
		if _, err := f.Find(name); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"bad", "none", "portless", "garbage", "noca"} {
		if _, err := f.Find(name); err == nil || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestUnixAndTCP: both ways reach the plugin, and its refusal comes in its words.
func TestUnixAndTCP(t *testing.T) {
	f, sockets, specs := folders(t)
	serve(t, listen(t, "unix", filepath.Join(sockets, "local.sock")), one())
	l := listen(t, "tcp", "127.0.0.1:0")
	serve(t, l, one())
	must(t, os.WriteFile(filepath.Join(specs, "net.spec"), []byte("tcp://"+l.Addr().String()), 0o644))
	for _, name := range []string{"local", "net"} {
		if a, err := get(t.Context(), f, name, "one"); err != nil || a.Volume == nil || a.Volume.Mountpoint != "/one" {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
		var refused *Refusal
		if _, err := get(t.Context(), f, name, "two"); !errors.As(err, &refused) || refused.Why != "get two: no such volume" {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What our side has not got is Docker's 404.
	e, err := f.Find("local")
	must(t, err)
	var refused *Refusal
	if _, err := NewClient("local", e).Call(t.Context(), Capabilities, Request{}); !errors.As(err, &refused) {
		t.Errorf("an unknown method: %v", err)
	}
}

// TestTLS: the server must show a certificate of the CA, and so must we.
func TestTLS(t *testing.T) {
	f, _, specs := folders(t)
	dir := t.TempDir()
	ca := authority(t, dir, "ca")
	other := authority(t, dir, "other")
	server, client, stranger := ca.issue(t, dir, "server"), ca.issue(t, dir, "client"), other.issue(t, dir, "stranger")
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	pair, err := tls.LoadX509KeyPair(server+".pem", server+".key")
	must(t, err)
	l := listen(t, "tcp", "127.0.0.1:0")
	quiet := &http.Server{Handler: one(), ErrorLog: nil}
	go func() {
		_ = quiet.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}))
	}()
	t.Cleanup(func() { _ = quiet.Close() })
	spec := func(name, config string) {
		must(t, os.WriteFile(filepath.Join(specs, name+".json"),
			fmt.Appendf(nil, `{"Name": %q, "Addr": "tcp://%s", "TLSConfig": {%s}}`, name, l.Addr(), config), 0o644))
	}
	spec("good", fmt.Sprintf(`"CAFile": "%s.pem", "CertFile": "%s.pem", "KeyFile": "%s.key"`, ca.path, client, client))
	spec("noca", fmt.Sprintf(`"CertFile": "%s.pem", "KeyFile": "%s.key"`, client, client))
	spec("otherca", fmt.Sprintf(`"CAFile": "%s.pem", "CertFile": "%s.pem", "KeyFile": "%s.key"`, other.path, client, client))
	spec("stranger", fmt.Sprintf(`"CAFile": "%s.pem", "CertFile": "%s.pem", "KeyFile": "%s.key"`, ca.path, stranger, stranger))
	spec("nocert", fmt.Sprintf(`"CAFile": "%s.pem"`, ca.path))
	for name, ok := range map[string]bool{"good": true, "noca": true, "otherca": false, "stranger": false, "nocert": false} {
		if _, err := get(t.Context(), f, name, "one"); (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	path string
}

func authority(t *testing.T, dir, name string) *ca {
	t.Helper()
	a := &ca{path: filepath.Join(dir, name)}
	var err error
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	form := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, form, form, &a.key.PublicKey, a.key)
	must(t, err)
	a.cert, err = x509.ParseCertificate(der)
	must(t, err)
	writePEM(t, a.path+".pem", "CERTIFICATE", der)
	return a
}

func (a *ca) issue(t *testing.T, dir, name string) (path string) {
	t.Helper()
	path = filepath.Join(dir, name)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	form := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, form, a.cert, &key.PublicKey, a.key)
	must(t, err)
	writePEM(t, path+".pem", "CERTIFICATE", der)
	der, err = x509.MarshalECPrivateKey(key)
	must(t, err)
	writePEM(t, path+".key", "EC PRIVATE KEY", der)
	return path
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	must(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

// TestBadPlugins: whatever a plugin does, a call ends in time with an error that names it.
func TestBadPlugins(t *testing.T) {
	f, sockets, _ := folders(t)
	release := make(chan struct{})
	defer close(release)
	activated := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, Activate) {
				_, _ = w.Write([]byte(`{"Implements": ["VolumeDriver"]}`))
				return
			}
			h(w, r)
		}
	}
	says := func(status int, text string) http.HandlerFunc {
		return activated(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(text))
		})
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"garbage":   {says(200, "\x00\xff<html>no"), "not of the protocol"},
		"empty":     {says(200, ""), "not of the protocol"},
		"otherjson": {says(200, `["a"]`), "not of the protocol"},
		"types":     {says(200, `{"Volume": "one", "Err": 7}`), "not of the protocol"},
		"err":       {says(200, `{"Err": "disk on fire"}`), "VolumeDriver.Get: disk on fire"},
		"status":    {says(500, `{"Err": "disk on fire"}`), "VolumeDriver.Get: disk on fire"},
		"text":      {says(503, "try\nlater"), "503 Service Unavailable: try later"},
		"redirect": {activated(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}), "307"},
		"other": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"Implements": ["NetworkDriver"]}`))
		},
			"is no volume plugin"},
		"closes": {activated(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), "EOF"},
		"cut": {activated(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte(`{"Volume": {`))
		}), "read the answer"},
		"endless": {activated(func(w http.ResponseWriter, _ *http.Request) {
			for block := []byte(strings.Repeat(" ", 1<<20)); ; {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		}), "longer than 32 MiB"},
		"hangs":       {activated(func(http.ResponseWriter, *http.Request) { <-release }), "no answer in"},
		"hangsatonce": {func(http.ResponseWriter, *http.Request) { <-release }, "no answer in"},
		"drips": {activated(func(w http.ResponseWriter, _ *http.Request) {
			for {
				_, _ = w.Write([]byte(" "))
				w.(http.Flusher).Flush()
				select {
				case <-release:
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
		}), "no answer in"},
	} {
		t.Run(name, func(t *testing.T) {
			serve(t, listen(t, "unix", filepath.Join(sockets, name+".sock")), c.handler)
			limit, within := 10*time.Second, 5*time.Second
			switch c.want {
			case "no answer in":
				limit = 300 * time.Millisecond
			case "longer than 32 MiB": // 3 to 7 s with the race detector
				limit, within = time.Minute, time.Minute
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			start := time.Now()
			_, err := get(ctx, f, name, "one")
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `plugin "`+name+`"`) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if took := time.Since(start); took > within {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestPluginThatStartsLate: a socket that nobody listens on yet is tried again, and given up in time.
func TestPluginThatStartsLate(t *testing.T) {
	f, sockets, _ := folders(t)
	path := filepath.Join(sockets, "late.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	must(t, err)
	l.SetUnlinkOnClose(false)
	must(t, l.Close())
	ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
	defer cancel()
	if _, err := get(ctx, f, "late", "one"); err == nil {
		t.Error("nobody answered")
	}
	go func() {
		time.Sleep(time.Second / 2)
		if os.Remove(path) == nil {
			if l, err := net.Listen("unix", path); err == nil {
				serve(t, l, one())
			}
		}
	}()
	if a, err := get(t.Context(), f, "late", "one"); err != nil || a.Volume == nil {
		t.Errorf("%+v, %v", a, err)
	}
}

// TestHandlerRefusals: what isn't of the protocol is refused in it.
func TestHandlerRefusals(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.sock")
	serve(t, listen(t, "unix", path), one())
	c := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	for _, q := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", Get, "{}", 405}, {"POST", "VolumeDriver.Nope", "{}", 404}, {"POST", Get, "{", 400}, {"POST", Get, `{"Name": 7}`, 400},
		{"POST", Get, `{"Name": "` + strings.Repeat("x", 2<<20) + `"}`, 400}, {"POST", Get, `{"name": "one"}`, 200},
		{"POST", Activate, "", 200}, {"POST", Get, `{"Name": "two"}`, 500},
	} {
		req, err := http.NewRequestWithContext(t.Context(), q.method, "http://x/"+q.path, strings.NewReader(q.body))
		must(t, err)
		resp, err := c.Do(req)
		must(t, err)
		_ = resp.Body.Close()
		if resp.StatusCode != q.status {
			t.Errorf("%s %s %.20s: %s, want %d", q.method, q.path, q.body, resp.Status, q.status)
		}
	}
}
