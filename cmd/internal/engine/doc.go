// Package engine is a mount's life: it chooses, checks, assembles layers, upper
// and volumes, starts the daemon, attaches all or nothing, announces, records,
// stops and clears up. The command line above it holds flags only.
//
// Truth is in directories and flocks: <root>/mounts/NAME/config.json is a
// mount, <root>/run/NAME.json with a held flock is a running one, the same file
// without is a dead one. The catalogue lists names and can be rebuilt.
package engine
