package suite

import "runtime/debug"

// Faults calls access, which uses mapped memory, and tells whether the file system
// could not serve some of it (SIGBUS).
func Faults(access func()) (faulted bool) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() { faulted = recover() != nil }()
	access()
	return false
}
