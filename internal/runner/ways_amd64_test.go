package runner

import "golang.org/x/sys/unix"

// machineWays are the ways out that only this machine has: older calls, and those of
// the x32 convention.
var machineWays = []way{
	{"open", unix.SYS_OPEN, []uint64{dataAddr, 0}},
	{"fork", unix.SYS_FORK, nil},
	{"vfork", unix.SYS_VFORK, nil},
	{"arch_prctl", unix.SYS_ARCH_PRCTL, []uint64{0x1002, 0}},
	{"modify_ldt", unix.SYS_MODIFY_LDT, []uint64{1, dataAddr, 16}},
	{"x32 futex", unix.SYS_FUTEX | 1<<30, []uint64{dataAddr, 1, 1}},
}
