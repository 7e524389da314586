package runner

import (
	_ "embed"

	"klink/internal/arch"
)

// machine is the one that this computer runs.
const machine = arch.AMD64

// program is the runner, an ELF executable; src holds its source.
//
//go:embed runner.amd64
var program []byte
