package startree

import (
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// Marks are forms in which layers hide what is below them.
type Marks uint8

const (
	// Kernel is a character device 0/0, and trusted.overlay.opaque=y.
	Kernel Marks = 1 << iota
	// UserXattr is a character device 0/0, and user.overlay.opaque=y.
	UserXattr
	// OCI is the file .wh.NAME, and the file .wh..wh..opq in an opaque directory.
	OCI
)

// form draws one of the forms chosen.
func (b *builder) form() Marks {
	var forms []Marks
	for f := Kernel; f <= OCI; f <<= 1 {
		if b.opt.Marks&f != 0 {
			forms = append(forms, f)
		}
	}
	return forms[b.rng.Intn(len(forms))]
}

func (b *builder) whiteout(p string) error {
	dir, name := path.Split(p)
	if b.form() == OCI && len(name) < 250 {
		return os.WriteFile(b.at(dir+ociPrefix+name), nil, 0o644)
	}
	return unix.Mknod(b.at(p), unix.S_IFCHR|0o600, 0)
}

func (b *builder) opaque(p string) error {
	switch b.form() {
	case Kernel:
		return unix.Lsetxattr(b.at(p), kernelOpaque, []byte("y"), 0)
	case UserXattr:
		return unix.Lsetxattr(b.at(p), userOpaque, []byte("y"), 0)
	default:
		return os.WriteFile(b.at(p+"/"+ociOpaque), nil, 0o644)
	}
}

const (
	ociPrefix    = ".wh."
	ociOpaque    = ".wh..wh..opq"
	kernelOpaque = "trusted.overlay.opaque"
	userOpaque   = "user.overlay.opaque"
)
