package vm

import (
	"errors"
	"fmt"
	"strings"
)

// Report follows a plan's events. The zero value but for Jobs is ready; not for use
// by several goroutines at once.
type Report struct {
	Jobs []Job

	next    int // the job to start, or, if running, to end
	running bool
	up      bool
	over    bool
	failed  int
}

// Add takes the next event. An error says that it cannot come now, or that the
// machine gave up: nothing after that counts.
func (r *Report) Add(e Event) error {
	due := !r.over && r.up != (e.Kind == Up)
	switch e.Kind {
	case Up:
		r.up = true
	case Start:
		due = due && !r.running && e.Job == r.next && e.Job < len(r.Jobs)
		r.running = true
	case End:
		due = due && r.running && e.Job == r.next
		r.running = false
		r.next++
		if Verdict(e) != "" {
			r.failed++
		}
	case Over:
		if e.Text != "" {
			return fmt.Errorf("the machine gave up: %s", e.Text)
		}
		due = due && r.next == len(r.Jobs)
		r.over = true
	default:
		due = false
	}
	if !due {
		return fmt.Errorf("the machine says %q of job %d, which is not what comes next", e.Kind, e.Job)
	}
	return nil
}

// Complete reports whether every job was run, well or badly, and the machine said so.
func (r *Report) Complete() bool { return r.over }

// Running returns the job that runs.
func (r *Report) Running() (Job, bool) {
	if !r.running {
		return Job{}, false
	}
	return r.Jobs[r.next], true
}

// Err is nil if every job was run and none failed.
func (r *Report) Err() error {
	job, running := r.Running()
	switch {
	case !r.up:
		return errors.New("the machine did not come up")
	case running:
		return fmt.Errorf("the machine ended while %s ran", job.Name)
	case !r.over:
		return fmt.Errorf("the machine ended after %d of %d packages", r.next, len(r.Jobs))
	case r.failed > 0:
		return fmt.Errorf("%d of %d packages failed", r.failed, len(r.Jobs))
	}
	return nil
}

// Verdict says why a job counts as failed, "" if it does not. An exit code alone is
// not enough: a test program says PASS at its end, whatever else it printed.
func Verdict(end Event) string {
	var why []string
	switch out := strings.TrimSpace(end.Output); {
	case end.Code > 128:
		why = append(why, fmt.Sprintf("ended by signal %d", end.Code-128))
	case end.Code != 0:
		why = append(why, fmt.Sprintf("exit code %d", end.Code))
	case out != "PASS" && !strings.HasSuffix(out, "\nPASS"):
		why = append(why, "ended without PASS")
	}
	if len(end.Left) > 0 {
		why = append(why, "left behind "+strings.Join(end.Left, ", "))
	}
	return strings.Join(why, "; ")
}
