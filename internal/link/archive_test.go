package link_test

import (
	"fmt"
	"slices"
	"testing"

	"klink/internal/elfload"
	"klink/internal/link"
	"klink/internal/testing/objbuild"
)

// member makes an object that defines and refers to names; "~x" is weakly.
func member(t *testing.T, file string, defines, refers []string) *elfload.Object {
	b := amd64().Text(".text", make([]byte, 16))
	bind := func(s string) (string, uint8) {
		if s[0] == '~' {
			return s[1:], objbuild.Weak
		}
		return s, objbuild.Global
	}
	for _, d := range defines {
		s, bind := bind(d)
		b.Symbol(objbuild.Symbol{Name: s, Section: ".text", Bind: bind, Type: objbuild.Func})
	}
	for _, r := range refers {
		s, bind := bind(r)
		b.Symbol(objbuild.Symbol{Name: s, Bind: bind})
	}
	return parse(t, file, b.Local("hidden_from_all", 0, 0))
}

func TestCandidates(t *testing.T) {
	type object struct {
		take            bool
		defines, refers []string
	}
	for _, c := range []struct {
		what    string
		objects []object
		want    []string
	}{
		{"nothing", nil, nil},
		{"no archive", []object{{true, nil, []string{"x"}}, {true, nil, nil}}, []string{"0", "1"}},
		{"nobody asks", []object{{false, []string{"x"}, nil}}, nil},
		{"in a chain, backwards", []object{{false, []string{"z"}, nil}, {false, []string{"y"}, []string{"z"}}, {true, nil, []string{"y"}}, {false, []string{"w"}, []string{"z"}}}, []string{"0", "1", "2"}},
		{"in a cycle", []object{{true, []string{"a"}, []string{"b"}}, {false, []string{"b"}, []string{"c", "a"}}, {false, []string{"c"}, []string{"b"}}}, []string{"0", "1", "2"}},
		{"weak references take nothing", []object{{true, nil, []string{"~x"}}, {false, []string{"x"}, nil}}, []string{"0"}},
		{"weak definitions are taken", []object{{true, nil, []string{"x"}}, {false, []string{"~x"}, nil}}, []string{"0", "1"}},
		{"the first definer", []object{{true, nil, []string{"x"}}, {false, []string{"x"}, nil}, {false, []string{"x"}, nil}}, []string{"0", "1"}},
		{"what is there already", []object{{false, []string{"x"}, nil}, {true, []string{"x"}, nil}, {true, nil, []string{"x"}}}, []string{"1", "2"}},
		{"what another member brought", []object{{true, nil, []string{"p", "q"}}, {false, []string{"q"}, nil}, {false, []string{"p", "q"}, nil}}, []string{"0", "2"}},
		{"local names mean nothing", []object{{true, nil, []string{"hidden_from_all"}}, {false, []string{"y"}, nil}}, []string{"0"}},
	} {
		var set link.Candidates
		set.Take(nil)
		set.Offer(nil)
		for i, o := range c.objects {
			m := member(t, fmt.Sprint(i), o.defines, o.refers)
			if o.take {
				set.Take(m)
			} else {
				set.Offer(m)
			}
		}
		for range 2 { // asking changes nothing
			var got []string
			for _, o := range set.Select() {
				got = append(got, o.File)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s: %v, want %v", c.what, got, c.want)
			}
		}
	}
}

// TestManyMembers: a chain of members through an archive in the worst order.
func TestManyMembers(t *testing.T) {
	var set link.Candidates
	const n = 2000
	for i := range n {
		set.Offer(member(t, fmt.Sprint(i), []string{fmt.Sprint("f", i)}, []string{fmt.Sprint("f", i-1)}))
	}
	set.Take(member(t, "main", nil, []string{fmt.Sprint("f", n/2)}))
	if got := len(set.Select()); got != n/2+2 {
		t.Errorf("%d objects", got)
	}
}
