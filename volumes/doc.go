// Package volumes keeps named persistent directories. A volume is its directory
// <root>/volumes/NAME with a file options.json: that is the truth, fsynced before
// the name appears, and no record elsewhere can make it vanish. How its data comes
// to be and appears is its driver's business.
//
//	.locks/NAME              held by whoever makes, attaches, detaches or removes NAME
//	NAME/options.json        driver, labels, options: what recover reads
//	NAME/_data               the data of most drivers
//	NAME/leases/MOUNT        flocked by the daemon that has the volume attached
//	NAME/used.json           the mounts that had it last
//
// The package knows neither layers nor FUSE, nor where a volume appears. Its
// functions are safe for concurrent use by many processes.
package volumes
