package kpi

import "klink/internal/arch"

// native is the machine whose code gcc makes here.
const native = arch.AMD64
