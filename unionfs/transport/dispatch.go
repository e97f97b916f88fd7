package transport

import (
	"bytes"
	"encoding/binary"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// handle answers r into r.out. A panic is the file system's fault, not the mount's end.
func (s *Server) handle(r *request) {
	r.status, r.size, r.silent, r.later = fuse.OK, 0, false, false
	defer func() {
		if what := recover(); what != nil {
			r.size = 0
			if r.status = s.cfg.Options.PanicHandler(what); r.status.Ok() {
				r.status = fuse.EIO
			}
		}
	}()
	if r.head.Opcode == opInterrupt {
		r.silent = true
		s.waits.interrupt(as[fuse.InterruptIn](r).Unique)
		return
	}
	if s.debug || r.head.TotalExtlen != 0 || !s.names(r) && !s.files(r) {
		s.rest(r)
	}
	if !r.status.Ok() {
		r.size = 0
	}
}

// names answers what is about names and attributes; false: r is none of these.
func (s *Server) names(r *request) bool {
	fs := s.cfg.FS
	switch r.head.Opcode {
	case opLookup:
		name := str(r.after(inHeaderSize))
		r.status = fs.Lookup(nil, r.head, name, answer[fuse.EntryOut](r))
	case opForget:
		r.silent = true
		fs.Forget(r.head.NodeId, as[fuse.ForgetIn](r).Nlookup)
	case opBatchForget:
		r.silent = true
		s.forgetAll(r)
	case opGetattr:
		r.status = fs.GetAttr(nil, as[fuse.GetAttrIn](r), answer[fuse.AttrOut](r))
	case opSetattr:
		r.status = fs.SetAttr(nil, as[fuse.SetAttrIn](r), answer[fuse.AttrOut](r))
	case opReadlink:
		var target []byte
		target, r.status = fs.Readlink(nil, r.head)
		r.size = copy(r.out, target)
	case opMknod:
		in, after := sized[fuse.MknodIn](r)
		name := str(after)
		r.status = fs.Mknod(nil, in, name, answer[fuse.EntryOut](r))
	case opMkdir:
		in, after := sized[fuse.MkdirIn](r)
		name := str(after)
		r.status = fs.Mkdir(nil, in, name, answer[fuse.EntryOut](r))
	case opUnlink:
		r.status = fs.Unlink(nil, r.head, str(r.after(inHeaderSize)))
	case opRmdir:
		r.status = fs.Rmdir(nil, r.head, str(r.after(inHeaderSize)))
	case opRename, opRename2:
		s.rename(r)
	case opCreate:
		in, after := sized[fuse.CreateIn](r)
		name := str(after)
		r.status = fs.Create(nil, in, name, answer[fuse.CreateOut](r))
	case opGetxattr:
		s.getxattr(r)
	default:
		return false
	}
	return true
}

func (s *Server) rename(r *request) {
	in, after := &r.move, []byte(nil)
	if r.head.Opcode == opRename2 {
		in, after = sized[fuse.RenameIn](r)
	} else { // without flags the kernel sends the older form
		var short *renameIn
		short, after = sized[renameIn](r)
		*in = fuse.RenameIn{InHeader: short.InHeader, Newdir: short.newDir}
	}
	old, after := cut(after)
	if s.cfg.Rename == nil {
		r.status = s.cfg.FS.Rename(nil, in, string(old), str(after))
		return
	}
	r.status = s.cfg.Rename(in, string(old), str(after), r.now)
	r.later = r.now && r.status == fuse.EAGAIN
}

// files answers what is about data and listings; false: r is none of these.
func (s *Server) files(r *request) bool {
	fs := s.cfg.FS
	switch r.head.Opcode {
	case opOpen:
		r.status = fs.Open(nil, as[fuse.OpenIn](r), answer[fuse.OpenOut](r))
	case opRead:
		s.read(r)
	case opWrite:
		in, data := sized[fuse.WriteIn](r)
		n, status := fs.Write(nil, in, data[:min(int(in.Size), len(data))])
		answer[fuse.WriteOut](r).Size = n
		r.status = status
	case opFlush:
		r.status = fs.Flush(nil, as[fuse.FlushIn](r))
	case opFsync:
		r.status = fs.Fsync(nil, as[fuse.FsyncIn](r))
	case opRelease:
		fs.Release(nil, as[fuse.ReleaseIn](r))
	case opReaddir, opReaddirplus:
		s.readdir(r)
	case opSetlkw:
		cancel := s.waits.begin(r.head.Unique)
		r.status = fs.SetLkw(cancel, as[fuse.LkIn](r))
		s.waits.done(r.head.Unique)
	default:
		return false
	}
	return true
}

func (s *Server) read(r *request) {
	in := as[fuse.ReadIn](r)
	buf := r.out[:min(int(in.Size), len(r.out))]
	if r.now && s.straight(r) {
		r.from, r.later = s.cfg.Source(in), true
		return
	}
	if s.cfg.Read != nil {
		r.size, r.status = s.cfg.Read(in, buf, r.now)
		r.later = r.now && r.status == fuse.EAGAIN
		if r.later && s.cfg.Source != nil {
			r.from = s.cfg.Source(in)
		}
		return
	}
	got, status := s.cfg.FS.Read(nil, in, buf)
	r.status = status
	if got == nil {
		return
	}
	defer got.Done()
	data, status := got.Bytes(buf)
	r.status = status
	r.size = copy(buf, data)
}

func (s *Server) readdir(r *request) {
	in := as[fuse.ReadIn](r)
	r.dir = *fuse.NewDirEntryList(r.out[:min(int(in.Size), len(r.out))], in.Offset)
	if r.head.Opcode == opReaddirplus {
		r.status = s.cfg.FS.ReadDirPlus(nil, in, &r.dir)
	} else {
		r.status = s.cfg.FS.ReadDir(nil, in, &r.dir)
	}
	r.size = len(r.dir.Bytes())
}

// getxattr is two operations: without room for the value it asks for the value's size.
func (s *Server) getxattr(r *request) {
	in, after := sized[fuse.GetXAttrIn](r)
	name := attribute(after)
	room := r.out[:min(int(in.Size), len(r.out))]
	n, status := s.cfg.FS.GetXAttr(nil, r.head, name, room)
	r.status = status
	if len(room) > 0 {
		r.size = min(int(n), len(room))
		return
	}
	answer[fuse.GetXAttrOut](r).Size = n
}

// forgetAll: struct fuse_batch_forget_in, then struct fuse_forget_one each.
func (s *Server) forgetAll(r *request) {
	if len(r.in) < int(inHeaderSize)+8 {
		return
	}
	count := binary.NativeEndian.Uint32(r.in[inHeaderSize:])
	each := r.in[inHeaderSize+8:]
	for ; count > 0 && len(each) >= 16; count-- {
		s.cfg.FS.Forget(binary.NativeEndian.Uint64(each), binary.NativeEndian.Uint64(each[8:]))
		each = each[16:]
	}
}

// rest leaves r to go-fuse.
func (s *Server) rest(r *request) {
	var head [outHeaderSize]byte
	in := [][]byte{r.in}
	if r.ring {
		in = append(in, r.data)
	}
	n, status := s.protocol.HandleRequest(in, [][]byte{head[:], r.out})
	switch {
	case !status.Ok():
		r.status, r.size = status, 0
	case n == 0:
		r.silent = true
	default:
		r.status, r.size = fuse.Status(-outHeader(head[:]).Status), n-int(outHeaderSize)
	}
}

// slow tells that r takes long by its kind.
func slow(r *request) bool {
	switch r.head.Opcode {
	case opFsync, opFsyncdir, opFallocate, opCopyFileRange, opSetlkw, opLseek:
		return true
	}
	return false
}

// lengthy tells that r may take long.
func (s *Server) lengthy(r *request) bool {
	switch r.head.Opcode {
	case opRead:
		return largeRead(r)
	case opReaddir, opReaddirplus: // from its start on: all names of all layers are read
		return as[fuse.ReadIn](r).Offset == 0 && (s.cfg.LongList == nil || s.cfg.LongList(r.head.NodeId))
	case opWrite:
		if as[fuse.WriteIn](r).Size > bigData {
			return true
		}
	case opSetxattr: // a file's capabilities wait for what the kernel holds back of its data
		if _, after := sized[fuse.SetXAttrIn](r); attribute(after) == "security.capability" {
			return true
		}
	case opRename, opRename2: // Config.Rename says so when it knows
		if s.cfg.Rename != nil {
			return false
		}
	case opSetattr, opRemovexattr, opLink:
	default:
		return slow(r)
	}
	return s.cfg.Lengthy != nil && s.cfg.Lengthy(r.head)
}

// straight tells of a read that a ring does without trying first whether it has to wait: what was in memory would be copied twice.
func (s *Server) straight(r *request) bool { return s.cfg.Source != nil && largeRead(r) }

// largeRead tells of a read of big data.
func largeRead(r *request) bool {
	return r.head.Opcode == opRead && as[fuse.ReadIn](r).Size > bigData
}

// bigData takes longer to copy than to hand a request to another thread.
const bigData = 128 << 10

// cut takes a name that ends with NUL.
func cut(b []byte) (name, after []byte) {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i], b[i+1:]
	}
	return b, nil
}

// str copies a name: the file system may keep it, the buffer is used again.
func str(b []byte) string {
	name, _ := cut(b)
	return string(name)
}

// attribute is str for the names that the kernel itself asks for again and again.
func attribute(b []byte) string {
	name, _ := cut(b)
	switch string(name) {
	case "security.capability":
		return "security.capability"
	case "system.posix_acl_access":
		return "system.posix_acl_access"
	case "system.posix_acl_default":
		return "system.posix_acl_default"
	}
	return string(name)
}
