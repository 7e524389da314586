package main

import (
	"strings"
	"testing"
)

func TestBounded(t *testing.T) {
	var whole bounded
	text := strings.Repeat("0123456789abcdef", (maxHead+maxTail)/16)
	for i := 0; i < len(text); i += 1000 {
		whole.write([]byte(text[i:min(i+1000, len(text))]))
	}
	if whole.String() != text {
		t.Error("what fits is not kept as it is")
	}
	whole.write([]byte("the end"))
	got := whole.String()
	if !strings.HasPrefix(got, text[:maxHead]+"\n[… 7 bytes …]\n") || !strings.HasSuffix(got, "f"+"the end") || len(got) > len(text)+64 {
		t.Errorf("%d bytes, %.40q … %q", len(got), got[maxHead:], got[len(got)-20:])
	}
	var bad bounded
	bad.write([]byte("a\xffb"))
	if got := bad.String(); got != "a?b" {
		t.Errorf("%q", got)
	}
}
