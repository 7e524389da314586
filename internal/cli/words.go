package cli

import (
	"math/bits"
	"strconv"
	"strings"

	"klink/internal/diag"
)

// split takes a line of klink run's file apart as a shell would: words at blanks,
// 'single' and "double" quotes, a backslash before any character, and # at a
// word's beginning for a comment. Nothing is expanded.
func split(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord := false
	var quote byte
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quote == '\'' && c != '\'', quote == '"' && c != '"' && c != '\\':
			word.WriteByte(c)
		case quote != 0 && c == quote:
			quote = 0
		case c == '\\':
			i++
			if i == len(line) {
				return nil, usage("a backslash ends the line")
			}
			if quote == '"' && line[i] != '"' && line[i] != '\\' {
				word.WriteByte('\\')
			}
			word.WriteByte(line[i])
			inWord = true
		case c == '\'' || c == '"':
			quote, inWord = c, true
		case c == ' ' || c == '\t' || c == '\r':
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		case c == '#' && !inWord:
			return words, nil
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, usage("a %c is not closed", quote)
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// join returns words as a line that split, or a shell, takes apart into them.
func join(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		if w == "" || strings.ContainsAny(w, " \t\r\n\\'\"#*?[]{}()<>$&|;~`!") {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		quoted[i] = w
	}
	return strings.Join(quoted, " ")
}

// number is a flag's value: an address, a count of bytes or one of things. It
// implements pflag.Value.
type number struct {
	v     uint64
	size  bool // of bytes: takes the suffixes K, M and G
	count bool // of things: takes powers of ten, 1e6
	set   bool
}

// String implements pflag.Value.
func (n *number) String() string {
	if !n.set {
		return ""
	}
	if n.count {
		return strconv.FormatUint(n.v, 10)
	}
	return "0x" + strconv.FormatUint(n.v, 16)
}

// Type implements pflag.Value; help shows it.
func (n *number) Type() string {
	switch {
	case n.size:
		return "size"
	case n.count:
		return "count"
	}
	return "address"
}

// Set implements pflag.Value.
func (n *number) Set(s string) error {
	v, err := parseNumber(s, n.size)
	if n.count {
		v, err = parseCount(s)
	}
	if err != nil {
		return err
	}
	n.v, n.set = v, true
	return nil
}

// parseNumber reads 4096, 0x1000, 0o10000 or 0b1…; a size also 4K, 64M or 1G,
// powers of 1,024.
func parseNumber(s string, size bool) (uint64, error) {
	digits, shift := s, 0
	if size && s != "" {
		if i := strings.IndexByte("KMG", s[len(s)-1]&^0x20); i >= 0 {
			digits, shift = s[:len(s)-1], 10*(i+1)
		}
	}
	v, err := strconv.ParseUint(digits, 0, 64)
	if err != nil || bits.Len64(v)+shift > 64 {
		return 0, usage("not a number of 64 bits")
	}
	return v << shift, nil
}

// parseCount reads what parseNumber reads, and 1e6: decimal digits and how many zeros
// follow them.
func parseCount(s string) (uint64, error) {
	digits, zeros, ok := strings.Cut(s, "e")
	if !ok || strings.HasPrefix(s, "0x") || strings.HasPrefix(s, "0X") {
		return parseNumber(s, false)
	}
	v, err := strconv.ParseUint(digits, 10, 64)
	n, nerr := strconv.ParseUint(zeros, 10, 8)
	if err != nil || nerr != nil {
		return 0, usage("not a number of 64 bits")
	}
	for ; n > 0 && v > 0; n-- {
		hi, lo := bits.Mul64(v, 10)
		if hi != 0 {
			return 0, usage("not a number of 64 bits")
		}
		v = lo
	}
	return v, nil
}

// definitions reads each "S=A"; all that are off are reported.
func definitions(list []string) (map[string]uint64, error) {
	m := make(map[string]uint64, len(list))
	var errs diag.List
	for _, d := range list {
		name, v, err := definition(d)
		if _, twice := m[name]; twice && err == nil {
			err = usage("--define: %q has two values", name)
		}
		errs.Add(err)
		m[name] = v
	}
	return m, errs.Err()
}

// definition reads "S=A".
func definition(s string) (name string, v uint64, err error) {
	name, value, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return "", 0, usage("%q is not SYMBOL=ADDRESS", s)
	}
	if v, err = parseNumber(value, false); err != nil {
		return "", 0, usage("%q: %s", s, err)
	}
	return name, v, nil
}
