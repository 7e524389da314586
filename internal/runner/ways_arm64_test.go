package runner

// machineWays are the ways out that only this machine has.
var machineWays []way
