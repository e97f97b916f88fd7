package bench

// scenario is a fresh mount of one tree and the phases that run on it, one after
// another. Each phase is a line of the tables.
type scenario struct {
	name    string
	tree    tree
	changes bool // what it does to the tree must not be seen by the next round
	layers  int  // 0: the tree's own number
	quick   bool // part of a quick run
	needs   []string
	phases  []phase
	point   bool // of a curve
}

// Kinds of lines.
const (
	KindMetadata = "metadata"
	KindData     = "data"
	KindProgram  = "program"
)

// phase is one line: what the client does, timed.
type phase struct {
	line  string
	kind  string
	cold  bool // nothing is cached when it starts
	lower bool // it is about lower layers: a volume and a plain directory have none
	// before prepares, untimed; run does the work and counts its operations.
	before func(*client) error
	run    func(*client) (int64, error)
	fio    string // name of a job file, instead of run
	slow   bool   // too long for a quick run
	after  bool   // runs for its effect: no line of its own
	ends   bool   // ends what an earlier phase started: runs in any case
}

func scenarioNamed(name string) (scenario, bool) {
	for _, s := range append(scenarios(), growthScenarios()...) {
		if s.name == name {
			return s, true
		}
	}
	return scenario{}, false
}

// scenarios is everything that is measured at one size.
func scenarios() []scenario {
	return []scenario{
		{name: "walk", tree: sourceTree, quick: true, phases: []phase{
			{line: "first walk", kind: KindMetadata, cold: true, run: walk},
			{line: "second walk", kind: KindMetadata, run: walk},
			{line: "third walk", kind: KindMetadata, run: walk},
			{line: "stat", kind: KindMetadata, run: statAgain},
			{line: "open and close", kind: KindMetadata, run: openClose},
		}},
		{name: "walk, layers warm", tree: sourceTree, phases: []phase{
			{line: "first walk, layers warm", kind: KindMetadata, run: walk},
		}},
		{name: "read", tree: sourceTree, quick: true, phases: []phase{
			{line: "read small files, first", kind: KindMetadata, before: find, run: readAll},
			{line: "read small files, again", kind: KindMetadata, run: readAll},
		}},
		{name: "list", tree: wideTree, quick: true, phases: []phase{
			{line: "merged listing, first", kind: KindMetadata, run: listWide(1)},
			{line: "merged listing, again", kind: KindMetadata, run: listWide(5)},
		}},
		{name: "names", tree: emptyTree, changes: true, quick: true, phases: []phase{
			{line: "create", kind: KindMetadata, run: createFiles},
			{line: "rename", kind: KindMetadata, run: renameFiles},
			{line: "unlink", kind: KindMetadata, run: unlinkFiles},
			{line: "mkdir and rmdir", kind: KindMetadata, run: makeDirs},
		}},
		{name: "copy-up", tree: sourceTree, changes: true, quick: true, phases: []phase{
			{line: "chmod of lower files", kind: KindMetadata, lower: true, before: find, run: chmodFiles},
			{line: "copy-up of small files", kind: KindMetadata, lower: true, run: appendFiles},
		}},
		{name: "remove", tree: sourceTree, changes: true, quick: true, phases: []phase{
			{line: "rm -rf of a lower tree", kind: KindMetadata, lower: true, run: removeTree},
		}},
		{name: "untar", tree: sourceTree, changes: true, needs: []string{"tar"}, phases: []phase{
			{line: "untar", kind: KindMetadata, before: makeArchive, run: untar},
		}},
		{name: "git", tree: goTree, needs: []string{"git"}, changes: true, phases: []phase{
			{line: "git status, first", kind: KindProgram, run: gitStatus},
			{line: "git status, again", kind: KindProgram, run: gitStatus},
		}},
		{name: "go build", tree: goTree, needs: []string{"go"}, changes: true, phases: []phase{
			{line: "go build", kind: KindProgram, run: goBuild},
		}},
		{name: "read data", tree: dataTree, quick: true, needs: []string{"fio"}, phases: []phase{
			{line: "sequential read 1M, cold", kind: KindData, cold: true, fio: "seqread-cold", slow: true},
			{line: "sequential read 4k, cold", kind: KindData, cold: true, fio: "seqread4k-cold", slow: true},
			{line: "sequential read, mmap, cold", kind: KindData, cold: true, fio: "seqread-mmap-cold", slow: true},
			{line: "random read 1M, cold", kind: KindData, cold: true, fio: "randread1m-cold", slow: true},
			{line: "random read 4k, cold", kind: KindData, cold: true, fio: "randread-cold", slow: true},
			{line: "random read 4k, mmap, cold", kind: KindData, cold: true, fio: "randread-mmap-cold", slow: true},
			{line: "read once", run: readOnce, after: true}, // what is measured now is warm, in a quick run too
			{line: "sequential read 1M", kind: KindData, fio: "seqread"},
			{line: "sequential read 4k", kind: KindData, fio: "seqread4k", slow: true},
			{line: "sequential read, mmap", kind: KindData, fio: "seqread-mmap", slow: true},
			{line: "random read 4k", kind: KindData, fio: "randread"},
			{line: "random read 1M", kind: KindData, fio: "randread1m", slow: true},
			{line: "random read 4k, mmap", kind: KindData, fio: "randread-mmap"},
		}},
		{name: "write data", tree: emptyTree, changes: true, quick: true, needs: []string{"fio"}, phases: []phase{
			{line: "sequential write 1M", kind: KindData, fio: "seqwrite", slow: true},
			{line: "sequential write 4k", kind: KindData, fio: "seqwrite4k"},
			{line: "random write 4k", kind: KindData, fio: "randwrite"},
			{line: "mixed 4k, 4 jobs", kind: KindData, fio: "mixed", slow: true},
			{line: "write 4k and fsync", kind: KindData, fio: "fsync"},
		}},
		{name: "first write", tree: dataTree, changes: true, phases: []phase{
			{line: "first write to a large lower file", kind: KindData, lower: true, run: firstWrite},
		}},
		{name: "sqlite", tree: emptyTree, changes: true, needs: []string{"sqlite3"}, phases: []phase{
			{line: "SQLite inserts", kind: KindProgram, run: sqliteInserts},
		}},
		{name: "postgres", tree: emptyTree, changes: true, needs: []string{"pg_ctlcluster"}, phases: []phase{
			{line: "pgbench", kind: KindProgram, before: startPostgres, run: pgbench},
			{line: "stop PostgreSQL", run: stopPostgres, after: true, ends: true},
		}},
	}
}
