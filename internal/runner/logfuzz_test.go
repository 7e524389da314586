package runner

import (
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzLog writes any words into the log's slots and head, and looks in between. Every
// 16 bytes of script are a step: where, what, and how.
func FuzzLog(f *testing.F) {
	step := func(op byte, slot uint16, word byte, v uint64) []byte {
		b := []byte{op, 0, 0, word, 0, 0, 0, 0}
		binary.LittleEndian.PutUint16(b[1:], slot)
		return binary.LittleEndian.AppendUint64(b, v)
	}
	line := func(n uint16, text string, length uint64) (b []byte) {
		b = append(b, step(0, n, 2, length)...)
		for i := 0; i*8 < len(text); i++ {
			var w [8]byte
			copy(w[:], text[8*i:])
			b = append(b, step(0, n, byte(3+i), binary.LittleEndian.Uint64(w[:]))...)
		}
		return append(append(b, step(0, n, 0, uint64(n)+1)...), step(1, 0, 0, uint64(n)+1)...)
	}
	f.Add(line(0, "hello\x1b[2J\n", 10))
	f.Add(append(line(0, "part of ", 8|lineGoesOn), line(1, "a line\xff\xfe", 8)...))
	f.Add(append(line(0, "first", 5), step(1, 0, 0, 1<<63)...))
	f.Add(append(line(0, "long", 1<<31-1), step(1, 0, 0, 3*logSlots)...))
	f.Fuzz(func(t *testing.T, script []byte) {
		r := still()
		defer r.log.rest()
		for ; len(script) >= 16; script = script[16:] {
			v := binary.LittleEndian.Uint64(script[8:])
			switch slot := binary.LittleEndian.Uint16(script[1:]); script[0] % 4 {
			case 0:
				at := r.cfg.logOff() + uint64(slot%logSlots)*lineSize
				r.ctl.wordAt((at + 8*(uint64(script[3])%(lineSize/8))) / 8).Store(v)
			case 1:
				r.mail.logHead.Store(v)
			case 2:
				r.mail.logHead.Add(uint64(script[3]))
			case 3:
				r.log.collect(r, script[3]&1 != 0)
				checkLog(t, r)
			}
		}
		r.log.collect(r, true)
		checkLog(t, r)
	})
}

// checkLog reads the log whole and in parts: numbers rise, what is missing is counted as
// lost, and no line can steer a terminal.
func checkLog(t *testing.T, r *Runner) {
	all, lost := r.Lines(0, 2*keptLines)
	end := r.log.next // what was lost behind the last line is not told yet
	if n := len(all); n > 0 {
		end = all[n-1].Number + 1
	}
	if len(all) > 2*keptLines || uint64(len(all))+lost != end || end > r.log.next {
		t.Fatalf("%d lines and %d lost of %d", len(all), lost, r.log.next)
	}
	for i, l := range all {
		if i > 0 && l.Number <= all[i-1].Number || l.Number >= r.log.next || l.Thread < -1 || l.Thread >= len(r.workers) || l.Time < 0 {
			t.Fatalf("line %+v", l)
		}
		if !utf8.ValidString(l.Text) || strings.ContainsFunc(l.Text, func(c rune) bool { return c < ' ' && c != '\t' || c >= 0x7f && c <= 0x9f }) || len(l.Text) > 10*(maxJoined+maxLineText) {
			t.Fatalf("text %q", l.Text)
		}
	}
	if len(all) > 0 {
		mid := all[len(all)/2]
		part, missing := r.Lines(mid.Number, 1)
		if len(part) != 1 || part[0] != mid || missing != 0 {
			t.Fatalf("%+v, %d lost; want %+v", part, missing, mid)
		}
	}
	if len(r.log.partial) > len(r.workers)+1 {
		t.Fatalf("parts of %d lines", len(r.log.partial))
	}
}
