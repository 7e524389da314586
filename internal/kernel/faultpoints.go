package kernel

// Fault points: places in loads and unloads where tests let something go wrong. In a
// host there is nobody who does.

// faultPoint is one, by its name.
type faultPoint string

// The fault points, in the order in which a load, then an unload, come by them.
const (
	faultRoom     faultPoint = "load: room"
	faultPlan     faultPoint = "load: plan"
	faultEntries  faultPoint = "load: entries"
	faultLink     faultPoint = "load: link"
	faultPush     faultPoint = "load: push"
	faultInit     faultPoint = "load: init"
	faultSwitch   faultPoint = "load: switch"
	faultCatch    faultPoint = "unload: catch"
	faultRelink   faultPoint = "unload: re-link"
	faultGrace    faultPoint = "unload: grace"
	faultFini     faultPoint = "unload: fini"
	faultProof    faultPoint = "unload: proof"
	faultReclaim  faultPoint = "unload: reclaim"
	faultPutBack  faultPoint = "unload: put back"
	faultPublish  faultPoint = "switch: publish"
	faultBarrier  faultPoint = "switch: barrier"
	faultTurn     faultPoint = "switch: turn"
	faultWithdraw faultPoint = "switch: withdraw"
)

// faultPoints lists them all.
var faultPoints = []faultPoint{
	faultRoom, faultPlan, faultEntries, faultLink, faultPush, faultInit, faultSwitch,
	faultCatch, faultRelink, faultGrace, faultFini, faultProof, faultReclaim, faultPutBack,
	faultPublish, faultBarrier, faultTurn, faultWithdraw,
}

// fault comes by a fault point.
func (k *Kernel) fault(at faultPoint) error {
	if k.cfg.fault == nil {
		return nil
	}
	return k.cfg.fault(at)
}
