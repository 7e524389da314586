package elfload

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"io"

	"klink/internal/diag"
)

// The algorithms of ch_type (gABI 4.9.3).
const (
	compressZlib = 1
	compressZstd = 2
)

// maxRatio is how much larger than its compressed form a zlib stream can become: a
// section that says more lies, and gets no memory.
const maxRatio = 1032

// UnpackedSize returns how many bytes Unpack gives for section i, which may be what a
// compression header says and nobody has checked.
func (o *Object) UnpackedSize(i int) uint64 {
	s := &o.Sections[i]
	if s.Flags&Compressed == 0 {
		return uint64(len(s.Data))
	}
	return binary.LittleEndian.Uint64(s.Data[8:])
}

// Unpack returns the bytes of section i, decompressed if it is SHF_COMPRESSED, and the
// relocations for them. The bytes are the caller's if fresh is true, else those of
// the file. Of a section without bytes in the file there are none.
//
// It takes time and memory in proportion to UnpackedSize, which the caller must have
// limited. The error is, by errors.Is, diag.ErrMalformed (the bytes are not what the
// header says) or diag.ErrUnsupported (another algorithm than zlib).
func (o *Object) Unpack(i int) (data []byte, relocs Relocs, fresh bool, err error) {
	s := &o.Sections[i]
	if s.Flags&Compressed == 0 {
		return s.Data, s.Relocs, false, nil
	}
	fail := func(kind error, format string, args ...any) ([]byte, Relocs, bool, error) {
		e := diag.New(kind, o.Name(), format, args...)
		e.Text = "section " + diag.Quote(s.Name) + ": " + e.Text
		return nil, Relocs{}, false, e
	}
	size, packed := o.UnpackedSize(i), s.Data[compressedSize:]
	switch typ := binary.LittleEndian.Uint32(s.Data); typ {
	case compressZlib:
	case compressZstd:
		return fail(diag.ErrUnsupported, "compressed with zstd; klink reads zlib")
	default:
		return fail(diag.ErrUnsupported, "compressed in an unknown way, %d", typ)
	}
	if size/maxRatio > uint64(len(packed)) {
		return fail(diag.ErrMalformed, "%d bytes cannot be %d when decompressed", len(packed), size)
	}
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return fail(diag.ErrMalformed, "%v", err)
	}
	data = make([]byte, size)
	if _, err := io.ReadFull(z, data); err != nil {
		return fail(diag.ErrMalformed, "decompressed, it is less than %d bytes: %v", size, err)
	}
	// The end of the stream has its checksum.
	switch n, err := z.Read(make([]byte, 1)); {
	case n > 0:
		return fail(diag.ErrMalformed, "decompressed, it is more than %d bytes", size)
	case !errors.Is(err, io.EOF):
		return fail(diag.ErrMalformed, "%v", err)
	}
	return data, o.packedRelocs(i), true, nil
}

// packedRelocs returns the relocations for the decompressed bytes of section i; Parse
// has checked them.
func (o *Object) packedRelocs(i int) Relocs {
	for j := range o.Sections {
		if r := &o.Sections[j]; (r.Type == Rela || r.Type == Rel) && r.Info == uint32(i) {
			return Relocs{raw: r.Data, rel: r.Type == Rel}
		}
	}
	return Relocs{}
}
