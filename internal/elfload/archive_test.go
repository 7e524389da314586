package elfload_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"klink/internal/arch"
	"klink/internal/diag"
	"klink/internal/elfload"
	"klink/internal/testing/objbuild"
)

var (
	object  = objbuild.New(arch.AMD64).Text(".text", []byte{0xc3}).Global("f", 0, 1).Bytes()
	members = []objbuild.Member{
		{Name: "a.o", Data: object},
		{Name: "exactly15char.o", Data: []byte("odd")},
		{Name: "a_name_of_more_than_sixteen_characters.o", Data: object},
		{Name: "dir/with space.o", Data: nil},
		{Name: "another_name_of_more_than_sixteen.o", Data: []byte{1}},
	}
)

func TestMembers(t *testing.T) {
	for name, raw := range map[string][]byte{"GNU": objbuild.Archive(members...), "BSD": objbuild.BSDArchive(members...)} {
		t.Run(name, func(t *testing.T) {
			got, err := elfload.Members("lib.a", raw)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(members) {
				t.Fatalf("%d members", len(got))
			}
			for i, m := range got {
				if m.Name != members[i].Name || string(m.Data) != string(members[i].Data) || cap(m.Data) != len(m.Data) {
					t.Errorf("member %d is %q, %d bytes", i, m.Name, len(m.Data))
				}
				if want := len(m.Data) > 10; m.IsELF() != want {
					t.Errorf("%s: IsELF %v", m.Name, !want)
				}
			}
			o, err := elfload.Parse("lib.a", got[0].Name, got[0].Data)
			if err != nil || o.Name() != "lib.a(a.o)" {
				t.Errorf("%v", err)
			}
			if _, err = elfload.Parse("lib.a", got[1].Name, got[1].Data); err == nil || err.Error() != "lib.a(exactly15char.o): not an ELF file" {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestMembersSkipped: symbol tables are no members, in whatever form.
func TestMembersSkipped(t *testing.T) {
	raw := []byte("!<arch>\n")
	for _, field := range []string{"/", "/SYM64/", "__.SYMDEF", "__.SYMDEF SORTED", "__.SYMDEF_64"} {
		raw = objbuild.AppendMember(raw, field, []byte("table"))
	}
	raw = objbuild.AppendMember(raw, "#1/20", []byte("__.SYMDEF SORTED\x00\x00\x00\x00table"))
	raw = objbuild.AppendMember(raw, "x.o/", nil)
	raw = objbuild.AppendMember(raw, "same.o/", nil)
	raw = objbuild.AppendMember(raw, "same.o/", nil)
	got, err := elfload.Members("lib.a", append(raw, '\n'))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range got {
		names = append(names, m.Name)
	}
	if diff := cmp.Diff([]string{"x.o", "same.o", "same.o"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestLongNames: what may end a name in the table of long names.
func TestLongNames(t *testing.T) {
	raw := objbuild.AppendMember([]byte("!<arch>\n"), "//", []byte("gnu.o/\nold.o\nnul.o\x00\x00\n"+strings.Repeat("n", 64<<10)+"/\n"))
	for _, field := range []string{"/0", "/7", "/13", "/21"} {
		raw = objbuild.AppendMember(raw, field, nil)
	}
	got, err := elfload.Members("lib.a", raw)
	if err != nil {
		t.Fatal(err)
	}
	want := []elfload.Member{{Name: "gnu.o"}, {Name: "old.o"}, {Name: "nul.o"}, {Name: strings.Repeat("n", 64<<10)}}
	for i := range got {
		got[i].Data = nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestMembersPadding: an archive need not be padded after its last member.
func TestMembersPadding(t *testing.T) {
	raw := objbuild.Archive(objbuild.Member{Name: "a", Data: []byte("odd")})
	for _, n := range []int{len(raw), len(raw) - 1} {
		if got, err := elfload.Members("lib.a", raw[:n]); err != nil || len(got) != 1 || string(got[0].Data) != "odd" {
			t.Errorf("%d bytes: %d members, %v", n, len(got), err)
		}
	}
}

func TestIsArchive(t *testing.T) {
	for raw, want := range map[string]bool{"": false, "!<arch>": false, "!<arch>\n": true, "!<thin>\nx": true, string(object): false} {
		if elfload.IsArchive([]byte(raw)) != want {
			t.Errorf("%.10q: %v", raw, !want)
		}
	}
}

func TestHostileArchives(t *testing.T) {
	one := string(objbuild.Archive(objbuild.Member{Name: "a.o", Data: []byte("1234")}))
	member := func(field, data string) string {
		return string(objbuild.AppendMember([]byte("!<arch>\n"), field, []byte(data)))
	}
	size := func(s string) string { return one[:8+48] + fmt.Sprintf("%-10s", s) + one[8+58:] }
	for _, c := range []struct {
		name, raw string
		kind      error
		want      string
	}{
		{"empty", "", diag.ErrMalformed, `lib.a: not an archive`},
		{"object", string(object), diag.ErrMalformed, `lib.a: not an archive`},
		{"thin", "!<thin>\n", diag.ErrUnsupported, `lib.a: a thin archive, which holds only the names of its files; make one without ar's T`},
		{"cut header", one[:40], diag.ErrMalformed, `lib.a: archive member at 0x8: 32 bytes are too short for a member`},
		{"cut data", one[:len(one)-1], diag.ErrMalformed, `lib.a: archive member at 0x8: the member's 4 bytes go beyond the end of the file, 0x47`},
		{"no end of header", strings.Replace(one, "`", "'", 1), diag.ErrMalformed, `lib.a: archive member at 0x8: not the beginning of a member`},
		{"size empty", size(""), diag.ErrMalformed, `lib.a: archive member at 0x8: the member's size is "          ", which is no number`},
		{"size negative", size("-4"), diag.ErrMalformed, `lib.a: archive member at 0x8: the member's size is "-4        ", which is no number`},
		{"size hexadecimal", size("0x4"), diag.ErrMalformed, `lib.a: archive member at 0x8: the member's size is "0x4       ", which is no number`},
		{"size huge", size("9999999999"), diag.ErrMalformed, `lib.a: archive member at 0x8: the member's 9999999999 bytes go beyond the end of the file, 0x48`},
		{"size with control characters", size("\x1b[2J"), diag.ErrMalformed, `lib.a: archive member at 0x8: the member's size is "\x1b[2J      ", which is no number`},
		{"long name without table", member("/0", ""), diag.ErrMalformed, `lib.a: archive member at 0x8: its name, "/0", is not in the table of long names`},
		{"long name out of range", member("//", "abc/\n") + member("/6", "")[8:], diag.ErrMalformed,
			`lib.a: archive member at 0x4a: its name, "/6", is not in the table of long names`},
		{"long name is no number", member("//", "abc/\n") + member("/x", "")[8:], diag.ErrMalformed,
			`lib.a: archive member at 0x4a: its name, "/x", is not in the table of long names`},
		{"long name without end", member("//", "abcdef") + member("/1", "")[8:], diag.ErrMalformed,
			`lib.a: archive member at 0x4a: its name at 0x1 of the table of long names has no end within 0x10000 bytes`},
		{"long name of more than 64 KiB", member("//", strings.Repeat("n", 64<<10+2)+"\n") + member("/0", "")[8:], diag.ErrMalformed,
			`lib.a: archive member at 0x10048: its name at 0x0 of the table of long names has no end within 0x10000 bytes`},
		{"BSD name too long", member("#1/5", "abcd"), diag.ErrMalformed, `lib.a: archive member at 0x8: its name is said to be its first 5 bytes`},
		{"BSD name no number", member("#1/-1", "abcd"), diag.ErrMalformed, `lib.a: archive member at 0x8: its name is said to be its first -1 bytes`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := elfload.Members("lib.a", []byte(c.raw))
			if got != nil {
				t.Errorf("%d members", len(got))
			}
			checkRefused(t, nil, err, c.kind, c.want)
		})
	}
}
