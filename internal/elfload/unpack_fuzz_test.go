package elfload_test

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"io"
	"runtime/metrics"
	"slices"
	"testing"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/testing/objbuild"
)

// maxUnpack is what the test, as every caller of Unpack, takes at most, bytes.
const maxUnpack = 1 << 20

// allocs returns how many bytes were ever allocated.
func allocs() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// FuzzUnpack: whatever a compressed section says of itself, there is an error or just as
// many bytes as it says, those that reading the stream without a header's promise gives, and
// no more memory is taken than for these.
func FuzzUnpack(f *testing.F) {
	stream := func(data []byte) []byte {
		var b bytes.Buffer
		w := zlib.NewWriter(&b)
		_, _ = w.Write(data)
		_ = w.Close()
		return b.Bytes()
	}
	f.Add(uint32(1), uint64(64), stream(make([]byte, 64)))
	f.Add(uint32(1), uint64(1<<20), stream(make([]byte, 1<<20)))
	f.Add(uint32(1), uint64(1<<30), stream(make([]byte, 64)))
	f.Add(uint32(1), uint64(63), stream(make([]byte, 64)))
	f.Add(uint32(1), uint64(0), stream(nil))
	f.Add(uint32(2), uint64(8), []byte("\x28\xb5\x2f\xfd"))
	f.Fuzz(func(t *testing.T, typ uint32, size uint64, packed []byte) {
		head := binary.LittleEndian.AppendUint32(nil, typ)
		head = binary.LittleEndian.AppendUint32(head, 0)
		head = binary.LittleEndian.AppendUint64(head, size)
		head = binary.LittleEndian.AppendUint64(head, 1)
		raw := objbuild.New(arch.AMD64).Debug(".debug_info", slices.Concat(head, packed)).
			With(func(s *objbuild.Section) { s.Flags = objbuild.Compressed }).Bytes()
		o, err := elfload.Parse("a.o", "", raw)
		if err != nil {
			return
		}
		if got := o.UnpackedSize(1); got != size {
			t.Fatalf("%d bytes, of %d", got, size)
		}
		if size > maxUnpack {
			size = maxUnpack + 1
		}
		var want []byte
		if z, zerr := zlib.NewReader(bytes.NewReader(packed)); zerr == nil && typ == 1 {
			if all, rerr := io.ReadAll(io.LimitReader(z, maxUnpack+1)); rerr == nil && uint64(len(all)) == size && size <= maxUnpack {
				want = append([]byte{}, all...)
			}
		}
		if o.UnpackedSize(1) > maxUnpack && size/1032 <= uint64(len(packed)) {
			return // no caller asks for it
		}
		before := allocs()
		data, _, fresh, err := o.Unpack(1)
		if n := allocs() - before; n > maxUnpack+8<<20 { // the fuzzing itself allocates, too
			t.Errorf("%d bytes allocated", n)
		}
		switch {
		case err == nil && (!fresh || want == nil || !bytes.Equal(data, want)):
			t.Fatalf("%d bytes, want %d", len(data), len(want))
		case err != nil && (data != nil || want != nil):
			t.Fatalf("%v; %d bytes wanted", err, len(want))
		case err != nil && !errors.Is(err, diag.ErrMalformed) && !errors.Is(err, diag.ErrUnsupported):
			t.Fatalf("an error of no kind: %v", err)
		}
	})
}
