package startree

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// ACL makes the value of system.posix_acl_access or _default: owner, group and others as in mode, one named user
// and one named group with the permissions in extra, and the mask that lets both be.
func ACL(mode, extra uint32, uid, gid uint32) string {
	const (
		userObj, user, groupObj, group, mask, other = 1, 2, 4, 8, 16, 32
		undefined                                   = ^uint32(0)
	)
	b := binary.LittleEndian.AppendUint32(nil, 2) // POSIX_ACL_XATTR_VERSION
	entry := func(tag uint16, perm, id uint32) {
		b = binary.LittleEndian.AppendUint16(b, tag)
		b = binary.LittleEndian.AppendUint16(b, uint16(perm&7))
		b = binary.LittleEndian.AppendUint32(b, id)
	}
	entry(userObj, mode>>6, undefined)
	entry(user, extra, uid)
	entry(groupObj, mode>>3, undefined)
	entry(group, extra, gid)
	entry(mask, mode>>3|extra, undefined)
	entry(other, mode, undefined)
	return string(b)
}

func (b *builder) acl(full string, kind uint32) error {
	value := []byte(ACL(b.rng.Uint32()&0o777|0o700, b.rng.Uint32(), 1000, 1001))
	if err := unix.Lsetxattr(full, "system.posix_acl_access", value, 0); err != nil {
		return err
	}
	if kind != unix.S_IFDIR {
		return nil
	}
	return unix.Lsetxattr(full, "system.posix_acl_default", value, 0)
}
