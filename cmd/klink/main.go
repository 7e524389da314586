// Command klink links kernel modules into a running image, and moves its calls as
// they come and go. See package cli.
package main

import (
	"context"
	"os"

	"klink/internal/cli"
)

func main() {
	os.Exit(cli.Main(context.Background(), cli.OS(), os.Args[1:]))
}
