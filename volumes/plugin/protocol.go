// Package plugin speaks Docker's volume plugin protocol, version 1, from both
// sides: it finds and calls plugins (docs.docker.com/engine/extend, moby's
// pkg/plugins and daemon/volume/drivers), and carries the messages that a plugin
// answers with. The protocol has no locks and no health call: a client bounds
// every call by its context.
package plugin

// Methods of the protocol, as the path of a POST.
const (
	Activate     = "Plugin.Activate"
	Create       = "VolumeDriver.Create"
	Remove       = "VolumeDriver.Remove"
	Mount        = "VolumeDriver.Mount"
	Unmount      = "VolumeDriver.Unmount"
	Path         = "VolumeDriver.Path"
	Get          = "VolumeDriver.Get"
	List         = "VolumeDriver.List"
	Capabilities = "VolumeDriver.Capabilities"
)

// ContentType of requests' Accept and of answers.
const ContentType = "application/vnd.docker.plugins.v1.2+json"

// VolumeDriver is what a volume plugin says it implements.
const VolumeDriver = "VolumeDriver"

// Request is what a method is told; each uses a part of it.
type Request struct {
	Name string            `json:",omitempty"`
	Opts map[string]string `json:",omitempty"` // Create
	ID   string            `json:",omitempty"` // Mount, Unmount: the holder
}

// Answer is what a method says; each uses a part of it. Err is set if it failed.
type Answer struct {
	Implements   []string    `json:",omitempty"` // Activate
	Mountpoint   string      `json:",omitempty"` // Mount, Path
	Volume       *Volume     `json:",omitempty"` // Get
	Volumes      []Volume    `json:",omitempty"` // List
	Capabilities *Capability `json:",omitempty"` // Capabilities
	Err          string
}

// Volume is how a plugin describes a volume of its own.
type Volume struct {
	Name       string
	Mountpoint string         `json:",omitempty"` // "" while it isn't mounted
	CreatedAt  string         `json:",omitempty"` // RFC 3339
	Status     map[string]any `json:",omitempty"`
}

// Capability says whether every host sees the same volumes: "global", else "local".
type Capability struct{ Scope string }
