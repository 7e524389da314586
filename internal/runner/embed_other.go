//go:build !amd64 && !arm64

package runner

import "klink/internal/arch"

// machine is none that klink links for: such a computer links, and runs nothing.
const machine = arch.Machine(0)

var program []byte
