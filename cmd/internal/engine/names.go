package engine

import (
	"fmt"
	"math/rand/v2"
	"os"
)

// generateName draws a name that no mount has. Another command may draw the same
// at the same time: plain names are for those whose record tells, and who try again.
func (e *Engine) generateName(plain bool) string {
	for try := 0; ; try++ {
		name := adjectives[rand.IntN(len(adjectives))] + "-" + nouns[rand.IntN(len(nouns))]
		if !plain || try > 10 { // most are taken
			name = fmt.Sprintf("%s-%d", name, rand.IntN(1_000_000))
		}
		if _, err := os.Lstat(e.mountDir(name)); err == nil {
			continue
		}
		if _, err := os.Lstat(e.statePath(name)); err != nil {
			return name
		}
	}
}

var adjectives = [...]string{"amber", "brisk", "calm", "dusty", "early", "fair", "gentle", "hollow", "idle", "jolly", "keen", "lucid",
	"mellow", "noble", "olive", "plain", "quiet", "rapid", "solid", "tidy", "upright", "vivid", "warm", "young"}

var nouns = [...]string{"anchor", "basin", "cedar", "delta", "ember", "field", "glade", "harbor", "island", "juniper", "kettle", "ledge",
	"meadow", "north", "orchard", "pebble", "quarry", "ridge", "shale", "timber", "upland", "valley", "willow", "yard"}
