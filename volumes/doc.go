// Package volumes keeps named persistent directories. A volume is its directory
// <root>/volumes/NAME with a file options.json beside _data: that is the truth,
// fsynced before the name appears, and no record elsewhere can make it vanish.
//
// The package knows neither layers nor FUSE, nor where a volume appears. Its
// functions are safe for concurrent use by many processes.
package volumes
