package cow

import (
	"encoding/binary"

	"github.com/unionmount/unionmount/layers/sys"
)

const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
	aclHeader  = 4
	aclEntry   = 8

	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20
)

// defaultACL reads what a new object in the directory behind dir inherits; nil: nothing.
func (w *Writer) defaultACL(dir int) ([]byte, error) {
	if w.noACL {
		return nil, nil
	}
	v, err := sys.GetXattrAt(dir, ".", aclDefault)
	if err == sys.ENODATA || err == sys.ENOTSUP {
		return nil, nil
	}
	return v, err
}

// inherit computes, from a default ACL, the access ACL (nil if the mode says it
// all) and permission bits of an object made with mode (posix_acl_create_masq).
func inherit(def []byte, mode uint32) (access []byte, perm uint32) {
	access = append([]byte(nil), def...)
	var group, mask []byte
	extended := false
	for e := access[min(aclHeader, len(access)):]; len(e) >= aclEntry; e = e[aclEntry:] {
		switch binary.LittleEndian.Uint16(e) {
		case aclUserObj:
			mode = limit(e, mode, 6)
		case aclGroupObj:
			group = e
		case aclMask:
			mask, extended = e, true
		case aclOther:
			mode = limit(e, mode, 0)
		case aclUser, aclGroup:
			extended = true
		}
	}
	if mask != nil {
		mode = limit(mask, mode, 3)
	} else if group != nil {
		mode = limit(group, mode, 3)
	}
	if !extended {
		access = nil
	}
	return access, mode
}

// limit intersects an entry's permissions with three bits of mode, in both.
func limit(e []byte, mode uint32, shift uint) uint32 {
	p := uint32(binary.LittleEndian.Uint16(e[2:])) & (mode >> shift & 7)
	binary.LittleEndian.PutUint16(e[2:], uint16(p))
	return mode&^(7<<shift) | p<<shift
}
