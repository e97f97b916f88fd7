package plugin

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// ErrNotFound says that no folder knows the plugin.
var ErrNotFound = errors.New("not found")

// Folders are where plugins are looked for, in this order.
type Folders struct {
	Sockets []string // NAME.sock, NAME/NAME.sock
	Specs   []string // NAME.spec, NAME/NAME.spec, NAME.json, NAME/NAME.json
}

// DockerFolders are those of Docker, or of rootless Docker for a plain user.
func DockerFolders() Folders {
	f := Folders{Sockets: []string{"/run/docker/plugins"}, Specs: []string{"/etc/docker/plugins", "/usr/lib/docker/plugins"}}
	if os.Geteuid() == 0 {
		return f
	}
	if d := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(d) {
		f.Sockets = append([]string{filepath.Join(d, "docker/plugins")}, f.Sockets...)
	}
	f.Specs = nil
	if d, err := os.UserConfigDir(); err == nil {
		f.Specs = append(f.Specs, filepath.Join(d, "docker/plugins"))
	}
	if d, err := os.UserHomeDir(); err == nil {
		f.Specs = append(f.Specs, filepath.Join(d, ".local/lib/docker/plugins"))
	}
	return f
}

// Endpoint is where a plugin listens.
type Endpoint struct {
	Network, Address string      // as for net.Dial
	TLS              *tls.Config // nil: without
}

var nameForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

// Find looks for the plugin of that name without asking it anything.
func (f Folders) Find(name string) (Endpoint, error) {
	if !nameForm.MatchString(name) {
		return Endpoint{}, fmt.Errorf("plugin %q %w", name, ErrNotFound)
	}
	for _, path := range candidates(f.Sockets, name, ".sock") {
		if st, err := os.Stat(path); err == nil && st.Mode()&os.ModeSocket != 0 {
			return Endpoint{Network: "unix", Address: path}, nil
		}
	}
	for _, path := range candidates(f.Specs, name, ".spec", ".json") {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var e Endpoint
		if err == nil && filepath.Ext(path) == ".json" {
			e, err = fromJSON(text)
		} else if err == nil {
			e, err = fromURL(strings.TrimSpace(string(text)))
		}
		if err != nil {
			err = fmt.Errorf("plugin %q: %s: %w", name, path, err)
		}
		return e, err
	}
	return Endpoint{}, fmt.Errorf("plugin %q %w: start it, or name its address in %s", name, ErrNotFound,
		filepath.Join(f.Specs[0], name+".spec"))
}

func candidates(folders []string, name string, exts ...string) (paths []string) {
	for _, dir := range folders {
		for _, ext := range exts {
			paths = append(paths, filepath.Join(dir, name+ext), filepath.Join(dir, name, name+ext))
		}
	}
	return paths
}

func fromURL(s string) (Endpoint, error) {
	u, err := url.Parse(s)
	if err != nil {
		return Endpoint{}, err
	}
	switch {
	case u.Scheme == "unix" && u.Host == "" && filepath.IsAbs(u.Path):
		return Endpoint{Network: "unix", Address: u.Path}, nil
	case (u.Scheme == "tcp" || u.Scheme == "http") && u.Port() != "":
		return Endpoint{Network: "tcp", Address: u.Host}, nil
	case u.Scheme == "https" && u.Port() != "":
		return Endpoint{Network: "tcp", Address: u.Host, TLS: &tls.Config{MinVersion: tls.VersionTLS12}}, nil
	}
	return Endpoint{}, fmt.Errorf("bad address %q: want unix:///PATH or tcp://HOST:PORT", s)
}

// spec is a .json file.
type spec struct {
	Name, Addr string
	TLSConfig  *struct {
		InsecureSkipVerify        bool
		CAFile, CertFile, KeyFile string
	}
}

func fromJSON(text []byte) (Endpoint, error) {
	var s spec
	if err := json.Unmarshal(text, &s); err != nil {
		return Endpoint{}, err
	}
	e, err := fromURL(s.Addr)
	if err != nil || s.TLSConfig == nil || e.Network == "unix" {
		return e, err
	}
	t := s.TLSConfig
	// Docker's rule: without a CA nothing is verified.
	e.TLS = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: t.InsecureSkipVerify || t.CAFile == ""}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return e, err
		}
		if e.TLS.RootCAs, err = x509.SystemCertPool(); err != nil {
			return e, err
		}
		if !e.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return e, fmt.Errorf("no certificate in %s", t.CAFile)
		}
	}
	if t.CertFile != "" || t.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return e, err
		}
		e.TLS.Certificates = []tls.Certificate{pair}
	}
	return e, nil
}
