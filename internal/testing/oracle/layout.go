package oracle

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// Layout is layout.json: where the loader under test put everything.
type Layout struct {
	Machine   string     `json:"machine"`
	Objects   []Object   `json:"objects"`
	Externals []External `json:"externals"`
	GOTs      []GOT      `json:"gots"`
	Live      bool       `json:"live"` // linked so that calls can move: see live.go
	Entries   []Jump     `json:"entries"`
	Veneers   []Jump     `json:"veneers"`
}

// Jump is a jump to a symbol's definition: the symbol's entry, or a veneer on the way.
type Jump struct {
	Name string `json:"name"`
	Addr Number `json:"addr"`
	Code string `json:"code"` // in hexadecimal
}

// Object is one object of a Layout.
type Object struct {
	File     string    `json:"file"`
	Member   string    `json:"member,omitempty"`
	Sections []Section `json:"sections"`
	Commons  []Common  `json:"commons"`
	IFuncs   []Stub    `json:"ifuncs"`
}

// Section is one allocated section. File names its bytes in the dump folder;
// "" means that they are zero.
type Section struct {
	Index int    `json:"index"` // in the object's section header table
	Name  string `json:"name"`
	Addr  Number `json:"addr"`
	Size  Number `json:"size"`
	File  string `json:"file,omitempty"`
}

// Common is one COMMON symbol that the loader gave space to.
type Common struct {
	Name string `json:"name"`
	Addr Number `json:"addr"`
	Size Number `json:"size"`
}

// Stub is what stands for an IFUNC: who refers to the symbol goes there.
type Stub struct {
	Symbol int    `json:"symbol"` // its index in the object's symbol table
	Addr   Number `json:"addr"`
}

// External is the address of a name that the object does not define.
type External struct {
	Name string `json:"name"`
	Addr Number `json:"addr"`
}

// GOT is a module's global offset table. Addr is the psABI's G, the address of
// _GLOBAL_OFFSET_TABLE_; File has the bytes from there on.
type GOT struct {
	Module string `json:"module"`
	Addr   Number `json:"addr"`
	Size   Number `json:"size"`
	File   string `json:"file,omitempty"`
}

// Number is an unsigned number, in JSON a string ("0x10000000") or a number.
type Number uint64

// UnmarshalJSON reads either form.
func (n *Number) UnmarshalJSON(b []byte) error {
	s := string(b)
	if len(b) > 0 && b[0] == '"' {
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
	}
	v, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		return fmt.Errorf("number %s: %w", b, err)
	}
	*n = Number(v)
	return nil
}

// MarshalJSON writes the string form.
func (n Number) MarshalJSON() ([]byte, error) {
	return []byte(fmt.Sprintf(`"0x%x"`, uint64(n))), nil
}

// readLayout reads dir/layout.json.
func readLayout(dir string) (*Layout, error) {
	data, err := os.ReadFile(filepath.Join(dir, "layout.json"))
	if err != nil {
		return nil, err
	}
	var l Layout
	if err := json.Unmarshal(data, &l); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, "layout.json"), err)
	}
	return &l, nil
}

// contents reads size bytes of a dumped file; "" gives zeros. A file of another
// length is an error.
func contents(dir, file string, size uint64) ([]byte, error) {
	if file == "" {
		return make([]byte, size), nil
	}
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return nil, err
	}
	if uint64(len(data)) != size {
		return nil, fmt.Errorf("%s: %d bytes, layout.json says %d", file, len(data), size)
	}
	return data, nil
}
