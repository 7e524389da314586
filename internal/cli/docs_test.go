package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// docsDir is where the pages made from the commands' help stand.
const docsDir = "../../docs/cli"

// page returns the page of one command.
func page(c *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<!-- Made from the command's help: go test ./internal/cli -update -->\n\n# %s\n\n%s\n", c.CommandPath(), c.Short)
	if c.Runnable() && c.HasParent() {
		fmt.Fprintf(&b, "\n    %s\n", c.UseLine())
	}
	fmt.Fprintf(&b, "\n%s\n", c.Long)
	c.InitDefaultHelpFlag()
	for _, f := range []struct{ title, text string }{
		{"Options", c.LocalNonPersistentFlags().FlagUsages()},
		{"Options of all commands", c.Root().PersistentFlags().FlagUsages()},
	} {
		fmt.Fprintf(&b, "\n## %s\n\n```\n%s```\n", f.title, f.text)
	}
	fmt.Fprintf(&b, "\n## Examples\n\n```\n%s\n```\n", strings.ReplaceAll(strings.TrimPrefix(c.Example, "  "), "\n  ", "\n"))
	if subs := c.Commands(); len(subs) > 0 {
		b.WriteString("\n## Commands\n\n")
		for _, s := range subs {
			if !s.Hidden {
				fmt.Fprintf(&b, "* [klink %s](klink_%s.md): %s\n", s.Name(), s.Name(), s.Short)
			}
		}
	}
	return b.String()
}

// docs/cli holds a page for each command, as its help says, and nothing else.
func TestDocs(t *testing.T) {
	sys, _, _ := fake(t, nil)
	want := map[string]string{}
	for _, c := range commands(New(sys)) {
		want[strings.ReplaceAll(c.CommandPath(), " ", "_")+".md"] = page(c)
	}
	if *update {
		if err := os.RemoveAll(docsDir); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(docsDir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range want {
			if err := os.WriteFile(filepath.Join(docsDir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := map[string]string{}
	files, err := filepath.Glob(filepath.Join(docsDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		got[filepath.Base(f)] = string(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("docs/cli is stale; go test ./internal/cli -update makes it anew (-want +got):\n%s", d)
	}
}
