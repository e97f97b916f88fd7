//go:build !race

package main_test

// raceDetector: the product is built as the tests are.
const raceDetector = false
