package cow

// NameStaged has copies of files staged under a name, as on a file system without O_TMPFILE.
func (w *Writer) NameStaged() { w.nameless = false }
