// Package bench measures file systems side by side: a plain directory, kernel
// overlayfs, the other unions that are installed, and unionmount in each of its
// ways. Workloads (scenario.go) and peers (peer.go) are data; one runner
// (runner.go) lets the peers take turns inside every round, so that a slow minute
// of the machine meets all of them, and results are compared by ratio.
//
// The package knows unionmount by its command line only: what is measured is the
// binary that is passed in. Workloads run in a process of their own
// (client.go), as root or as a plain user.
//
// Times are wall-clock nanoseconds for one operation unless said otherwise.
package bench
