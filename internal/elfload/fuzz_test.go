package elfload_test

import (
	"bytes"
	"strings"
	"testing"

	"klink/internal/arch"
	"klink/internal/elfload"
	"klink/internal/testing/hostile"
	"klink/internal/testing/objbuild"
)

// FuzzParse: whatever the bytes, there is an error or an Object that keeps its promises.
func FuzzParse(f *testing.F) {
	f.Add([]byte{})
	f.Add(full(arch.AMD64).Bytes())
	f.Add(full(arch.ARM64).Xindex().Bytes())
	f.Add(base().Group("f", true, ".text", ".data").Bytes())
	f.Add(base().Add(ordered(".a", 3)).Add(ordered(".b", 4)).Bytes())
	f.Add(objbuild.New(arch.ARM64).Add(objbuild.Section{
		Name: ".debug_info", Type: objbuild.Progbits, Flags: objbuild.Compressed, Data: compressed(1<<40, 40),
	}).Reloc(39, 0, "", 0).NoSymtab().Bytes())
	for _, h := range hostile.Files() {
		if len(h.Raw) < 4<<10 {
			f.Add(h.Raw)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, err := elfload.Parse("a.o", "", raw)
		if (o == nil) == (err == nil) {
			t.Fatalf("object %v, error %v", o != nil, err)
		}
		if err == nil {
			checkObject(t, o)
		} else if err.Error() == "" {
			t.Fatal("an error without text")
		}
	})
}

// FuzzMembers: whatever the bytes, there is an error or a list of parts of the file.
func FuzzMembers(f *testing.F) {
	f.Add([]byte("!<thin>\n"))
	f.Add(objbuild.Archive(members...))
	f.Add(objbuild.BSDArchive(members...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := elfload.Members("lib.a", raw)
		if err != nil && got != nil {
			t.Fatalf("%d members beside an error", len(got))
		}
		total := 0
		for _, m := range got {
			total += len(m.Data) + 60
			_ = m.IsELF()
		}
		if total > len(raw) {
			t.Fatalf("members of %d bytes in a file of %d", total, len(raw))
		}
		// Written anew, they are read as they were.
		var again []objbuild.Member
		for _, m := range got {
			if m.Name == "" || m.Name != strings.TrimRight(m.Name, "/ \x00") || strings.ContainsAny(m.Name, "\n\x00") || strings.HasPrefix(m.Name+"/", "#1/") || m.Name[0] == '/' {
				return // a name that archives of the GNU form cannot have
			}
			again = append(again, objbuild.Member{Name: m.Name, Data: m.Data})
		}
		second, err := elfload.Members("lib.a", objbuild.Archive(again...))
		if err != nil || len(second) != len(got) {
			t.Fatalf("%d members, read again %d: %v", len(got), len(second), err)
		}
		for i, m := range second {
			if m.Name != got[i].Name || !bytes.Equal(m.Data, got[i].Data) {
				t.Fatalf("member %d: %q, read again %q", i, got[i].Name, m.Name)
			}
		}
	})
}
