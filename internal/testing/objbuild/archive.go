package objbuild

import (
	"fmt"
	"strings"
)

// Member is one member of an archive.
type Member struct {
	Name string
	Data []byte
}

// Archive returns an archive in the GNU form, without a symbol table.
func Archive(members ...Member) []byte {
	var long strings.Builder
	fields := make([]string, len(members))
	for i, m := range members {
		fields[i] = m.Name + "/"
		if len(m.Name) > 15 {
			fields[i] = fmt.Sprintf("/%d", long.Len())
			long.WriteString(m.Name + "/\n")
		}
	}
	raw := []byte("!<arch>\n")
	if long.Len() > 0 {
		raw = AppendMember(raw, "//", []byte(long.String()))
	}
	for i, m := range members {
		raw = AppendMember(raw, fields[i], m.Data)
	}
	return raw
}

// BSDArchive returns an archive in the BSD form: names that are long or hold spaces stand
// before the data.
func BSDArchive(members ...Member) []byte {
	raw := []byte("!<arch>\n")
	for _, m := range members {
		if len(m.Name) <= 16 && !strings.Contains(m.Name, " ") {
			raw = AppendMember(raw, m.Name, m.Data)
			continue
		}
		name := m.Name + strings.Repeat("\x00", -len(m.Name)&3)
		raw = AppendMember(raw, fmt.Sprintf("#1/%d", len(name)), append([]byte(name), m.Data...))
	}
	return raw
}

// AppendMember appends a member whose header has the name field as it stands.
func AppendMember(raw []byte, field string, data []byte) []byte {
	field += strings.Repeat(" ", max(0, 16-len(field))) // bytes, which fmt would not count
	raw = fmt.Appendf(raw, "%s%-12d%-6d%-6d%-8s%-10d`\n", field, 0, 0, 0, "644", len(data))
	raw = append(raw, data...)
	if len(data)&1 != 0 {
		raw = append(raw, '\n')
	}
	return raw
}
