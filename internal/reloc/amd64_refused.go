package reloc

// The relocation types of x86-64 that klink knows by name and does not link, each
// with the reason that the error message gives. Numbers and names: psABI table 4.9
// for 0..42, the APX extension of the psABI for 43..51, binutils for 250 and 251.

// Why types are refused, on both machines.
const (
	tls         = "TLS is not supported"
	dynamicOnly = "only a linked program or shared object may have it, not an object"
)

// Why types of x86-64 are refused.
const (
	mpx    = "MPX was withdrawn, and with it the type"
	apx    = "instructions of the APX extension are not supported"
	apxTLS = "TLS is not supported, nor are instructions of the APX extension"
	vtable = "garbage collection of C++ virtual tables is not supported"
)

// amd64Refused is sorted by type.
var amd64Refused = []refusedType{
	{5, "R_X86_64_COPY", dynamicOnly},
	{8, "R_X86_64_RELATIVE", dynamicOnly},
	{16, "R_X86_64_DTPMOD64", tls},
	{17, "R_X86_64_DTPOFF64", tls},
	{18, "R_X86_64_TPOFF64", tls},
	{19, "R_X86_64_TLSGD", tls},
	{20, "R_X86_64_TLSLD", tls},
	{21, "R_X86_64_DTPOFF32", tls},
	{22, "R_X86_64_GOTTPOFF", tls},
	{23, "R_X86_64_TPOFF32", tls},
	{34, "R_X86_64_GOTPC32_TLSDESC", tls},
	{35, "R_X86_64_TLSDESC_CALL", tls},
	{36, "R_X86_64_TLSDESC", tls},
	{37, "R_X86_64_IRELATIVE", dynamicOnly},
	{38, "R_X86_64_RELATIVE64", dynamicOnly},
	{39, "R_X86_64_PC32_BND", mpx},
	{40, "R_X86_64_PLT32_BND", mpx},
	{43, "R_X86_64_CODE_4_GOTPCRELX", apx},
	{44, "R_X86_64_CODE_4_GOTTPOFF", apxTLS},
	{45, "R_X86_64_CODE_4_GOTPC32_TLSDESC", apxTLS},
	{46, "R_X86_64_CODE_5_GOTPCRELX", apx},
	{47, "R_X86_64_CODE_5_GOTTPOFF", apxTLS},
	{48, "R_X86_64_CODE_5_GOTPC32_TLSDESC", apxTLS},
	{49, "R_X86_64_CODE_6_GOTPCRELX", apx},
	{50, "R_X86_64_CODE_6_GOTTPOFF", apxTLS},
	{51, "R_X86_64_CODE_6_GOTPC32_TLSDESC", apxTLS},
	{250, "R_X86_64_GNU_VTINHERIT", vtable},
	{251, "R_X86_64_GNU_VTENTRY", vtable},
}
