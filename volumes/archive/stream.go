package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// stream reads the entries of an archive and what it says of itself.
type stream struct {
	*tar.Reader
	raw    *source
	tar    *counter
	close  func()
	begun  bool   // it is ours: an end must come
	digest string // of the end
}

// maxWindow is how much memory a compressed stream may ask for: what zstd -19 --long needs.
const maxWindow = 128 << 20

// openStream finds out by the first bytes how a stream is compressed.
func openStream(r io.Reader) (*stream, error) {
	raw := &source{r: r}
	in := bufio.NewReaderSize(raw, 128<<10)
	head, err := in.Peek(6)
	if len(head) == 0 {
		if err == io.EOF {
			return nil, refuse("it is empty")
		}
		return nil, err
	}
	s := &stream{raw: raw, close: func() {}}
	var plain io.Reader = in
	switch {
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		z, err := zstd.NewReader(in, zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		s.close, plain = z.Close, z
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		if plain, err = gzip.NewReader(in); err != nil {
			return nil, refuse("%w", err)
		}
	case bytes.HasPrefix(head, []byte("BZh")), bytes.HasPrefix(head, []byte("\xfd7zXZ")):
		return nil, refuse("it is compressed by bzip2 or xz: decompress it first, as in `xz -dc FILE | unionmount volume import NAME`")
	}
	s.tar = &counter{r: plain, sum: sha256.New()}
	s.Reader = tar.NewReader(s.tar)
	return s, nil
}

// next returns the next entry; io.EOF if the archive ended as it should.
func (s *stream) next() (*tar.Header, error) {
	for {
		before, err := s.tar.padded()
		if err != nil {
			return nil, err
		}
		h, err := s.Next()
		switch {
		case err == io.EOF:
			return nil, s.end()
		case err != nil:
			return nil, s.bad(err)
		case s.digest != "":
			return nil, refuse("%q comes after the checksum", h.Name)
		case h.Typeflag != tar.TypeXGlobalHeader:
			return h, nil
		}
		comment := h.PAXRecords[commentKey]
		if want, ok := strings.CutPrefix(comment, endComment); ok {
			if !s.begun {
				return nil, refuse("its beginning is missing")
			}
			if got := hex.EncodeToString(before.Sum(nil)); got != want {
				return nil, refuse("the checksum is wrong: the archive says %.64s, its content has %s: it was changed", want, got)
			}
			s.digest = want
		}
		if version, ok := strings.CutPrefix(comment, beginPrefix); ok && version != beginVersion {
			return nil, refuse("it is an archive of version %.10s: use the unionmount that wrote it", version)
		} else if ok {
			s.begun = true
		}
	}
}

// bad sorts what tar and the decompressors say: nearly always of the stream itself.
func (s *stream) bad(err error) error {
	if _, raw := s.raw.state(); raw != nil {
		return raw // the disk, the pipe
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return refuse("it was cut short")
	case errors.Is(err, tar.ErrHeader):
		return refuse("it is no tar, or a broken one, %d bytes in", s.tar.n)
	}
	return refuse("%d bytes in: %w", s.tar.n, err)
}

// maxTail bounds what is read after the last entry, to see that the compressed stream is whole.
const maxTail = 64 << 20

// end is called after the last entry.
func (s *stream) end() error {
	if s.tar.zeros < blockSize {
		return refuse("it was cut short: its end is missing")
	}
	if s.begun && s.digest == "" {
		return refuse("it was cut short: its checksum is missing")
	}
	n, err := io.Copy(io.Discard, io.LimitReader(s.tar.r, maxTail))
	if err != nil {
		return s.bad(err)
	}
	if n == maxTail {
		return refuse("it goes on behind its end")
	}
	return io.EOF
}

// counter passes a tar on, adds up its checksum, and sees how it ends.
type counter struct {
	r     io.Reader
	sum   hash.Hash
	n     int64
	zeros int64 // how many the last bytes are
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.sum.Write(b[:n])
	c.n += int64(n)
	last := n
	for last > 0 && b[last-1] == 0 {
		last--
	}
	if last > 0 {
		c.zeros = 0
	}
	c.zeros += int64(n - last)
	return n, err
}

// padded is the checksum up to the end of the block.
func (c *counter) padded() (hash.Hash, error) {
	sum, err := c.sum.(hash.Cloner).Clone()
	if err == nil {
		sum.Write(make([]byte, padding(c.n)))
	}
	return sum, err
}

// source is what the stream comes from. Its own errors are told from those of what it
// holds. A decompressor reads it in a goroutine of its own.
type source struct {
	r io.Reader

	mu  sync.Mutex
	n   int64 // read; guarded by mu, as err
	err error // other than the end
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n += int64(n)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

func (s *source) state() (n int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n, s.err
}
