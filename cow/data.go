package cow

import "github.com/unionmount/unionmount/layers/sys/filedata"

// copyData makes dst (empty) hold the first size bytes of src, holes kept.
func (w *Writer) copyData(dst, src int, size int64) error {
	if size == 0 {
		return nil
	}
	if err := w.step("data"); err != nil {
		return err
	}
	_, err := filedata.Copy(dst, src, size, nil)
	return err
}
