// Package engine is a mount's life: it chooses, checks, assembles layers, upper
// and volumes, starts the daemon, attaches all or nothing, announces, records,
// stops and clears up. The command line above it holds flags only.
//
// Truth is in directories and flocks. <root>/mounts/NAME/config.json is a mount;
// <root>/run/NAME.json with a held flock (a lease) is a running one, the same file
// without is a dead one, no file is a stopped one. Whoever starts, serves, clears
// up or removes a mount holds its lease. The catalogue is an index that can be
// rebuilt; commands use its lock where records and volumes must agree: a mount
// writes its record before it uses a volume, volume rm looks at all records and
// takes the name away while it holds the catalogue.
//
// An Engine may be used by many goroutines, and many processes may work below one root.
package engine
