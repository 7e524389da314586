package elfload

import (
	"bytes"
	"strconv"
	"strings"

	"klink/internal/diag"
)

// The first bytes of archives (ar(5)); a thin one only names files.
const (
	archiveMagic = "!<arch>\n"
	thinMagic    = "!<thin>\n"
)

// memberSize is the size of a member's header: name 16, date 12, owner 6, group 6,
// mode 8, size 10, and two bytes that end it.
const memberSize = 60

// Member is one file in an archive.
type Member struct {
	Name string
	Data []byte // part of the archive's bytes; never to be written to
}

// IsELF says that the member begins as ELF files do; Parse tells the rest.
func (m Member) IsELF() bool { return isELF(m.Data) }

// IsArchive says that raw begins as archives do, thin ones included.
func IsArchive(raw []byte) bool {
	return bytes.HasPrefix(raw, []byte(archiveMagic)) || bytes.HasPrefix(raw, []byte(thinMagic))
}

// Members returns the members of the archive raw in its order, whatever they are; symbol
// and name tables are left out. It knows the GNU and the BSD form of long names. file is
// the name for messages.
//
// The members' names and data are parts of raw, which must not change from now on. The
// error is, by errors.Is, diag.ErrMalformed, or diag.ErrUnsupported for a thin archive.
func Members(file string, raw []byte) ([]Member, error) {
	if bytes.HasPrefix(raw, []byte(thinMagic)) {
		return nil, diag.New(diag.ErrUnsupported, file, "a thin archive, which holds only the names of its files; make one without ar's T")
	}
	if !IsArchive(raw) {
		return nil, diag.New(diag.ErrMalformed, file, "not an archive")
	}
	// Counting first takes little, and a million members fit their slice at once.
	count := 0
	err := walkArchive(file, raw, func(Member) { count++ })
	if err != nil {
		return nil, err
	}
	if count > maxMembers {
		return nil, diag.New(diag.ErrUnsupported, file, "%d members are more than klink's limit of %d", count, maxMembers)
	}
	members := make([]Member, 0, count)
	err = walkArchive(file, raw, func(m Member) { members = append(members, m) })
	return members, err
}

// archive is the state of one walk.
type archive struct {
	file  string
	long  []byte // the table of long names, GNU form
	names int    // bytes of names that may still be read
}

// walkArchive calls visit with each member, in order, until an error.
func walkArchive(file string, raw []byte, visit func(Member)) error {
	a := &archive{file: file, names: maxNames}
	at := len(archiveMagic)
	for at < len(raw) {
		h := raw[at:]
		if len(h) < memberSize {
			// Some writers pad the end of the file.
			if len(bytes.Trim(h, "\n\x00")) == 0 {
				return nil
			}
			return a.fail(diag.ErrMalformed, at, "%d bytes are too short for a member", len(h))
		}
		if h[58] != '`' || h[59] != '\n' {
			return a.fail(diag.ErrMalformed, at, "not the beginning of a member")
		}
		size, ok := number(h[48:58])
		if !ok {
			return a.fail(diag.ErrMalformed, at, "the member's size is %s, which is no number", diag.Quote(string(h[48:58])))
		}
		if size > len(h)-memberSize {
			return a.fail(diag.ErrMalformed, at, "the member's %d bytes go beyond the end of the file, %#x", size, len(raw))
		}
		if err := a.member(at, h[:16], h[memberSize:memberSize+size:memberSize+size], visit); err != nil {
			return err
		}
		at += memberSize + size + size&1
	}
	return nil
}

// fail returns an error about the member at file offset at.
func (a *archive) fail(kind error, at int, format string, args ...any) error {
	e := diag.New(kind, a.file, format, args...)
	e.Text = "archive member at 0x" + strconv.FormatUint(uint64(at), 16) + ": " + e.Text
	return e
}

// number reads a decimal number that is padded with spaces.
func number(field []byte) (int, bool) {
	n, err := strconv.ParseUint(string(bytes.TrimRight(field, " ")), 10, 62)
	return int(n), err == nil
}

// member visits one member, or keeps it if it is the table of long names.
func (a *archive) member(at int, field, data []byte, visit func(Member)) error {
	name := bytes.TrimRight(field, " ")
	switch {
	case string(name) == "/" || string(name) == "/SYM64/":
		return nil
	case string(name) == "//":
		a.long = data
		return nil
	case bytes.HasPrefix(name, []byte("#1/")):
		n, ok := number(name[3:])
		if !ok || n > len(data) || n > maxName {
			return a.fail(diag.ErrMalformed, at, "its name is said to be its first %s bytes", diag.Escape(string(name[3:])))
		}
		name, data = bytes.TrimRight(data[:n], "\x00"), data[n:]
	case len(name) > 1 && name[0] == '/':
		off, ok := number(name[1:])
		if !ok || off >= len(a.long) {
			return a.fail(diag.ErrMalformed, at, "its name, %s, is not in the table of long names", diag.Quote(string(name)))
		}
		if name, ok = longName(a.long[off:]); !ok {
			return a.fail(diag.ErrMalformed, at, "its name at %#x of the table of long names has no end within %#x bytes", off, maxName)
		}
	default:
		name = bytes.TrimSuffix(name, []byte("/"))
	}
	if a.names -= len(name); a.names < 0 {
		return a.fail(diag.ErrUnsupported, at, "its name brings the archive's names to more than klink's limit of %#x bytes", maxNames)
	}
	s := stringOf(name)
	if strings.HasPrefix(s, "__.SYMDEF") {
		return nil
	}
	visit(Member{Name: s, Data: data})
	return nil
}

// longName returns the name at the start of tab: it ends with a newline, before which the
// GNU form has a slash, or with a NUL.
func longName(tab []byte) ([]byte, bool) {
	if len(tab) > maxName+2 {
		tab = tab[:maxName+2]
	}
	n := bytes.IndexByte(tab, '\n')
	if n < 0 {
		return nil, false
	}
	name := tab[:n]
	if nul := bytes.IndexByte(name, 0); nul >= 0 {
		name = name[:nul]
	}
	return bytes.TrimSuffix(name, []byte("/")), true
}
