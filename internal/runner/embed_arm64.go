package runner

import (
	_ "embed"

	"klink/internal/arch"
)

// machine is the one that this computer runs.
const machine = arch.ARM64

// program is the runner, an ELF executable; src holds its source.
//
//go:embed runner.arm64
var program []byte
