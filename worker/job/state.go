package job

// State is where a job is in its life.
type State string

// States of jobs, in the order in which they come. docs/batch.md draws them.
const (
	StatePlanning   State = "planning"   // its sources are being listed, and what was listed runs
	StateRunning    State = "running"    // all of it is in the queue
	StateCancelling State = "cancelling" // nothing more is started
	StateSucceeded  State = "succeeded"  // every object has its output
	StateFailed     State = "failed"     // every object has its output or its failure object
	StateCancelled  State = "cancelled"  // what had not begun at the cancel was left
)

// Ended says whether the job has its summary.
func (s State) Ended() bool {
	return s == StateSucceeded || s == StateFailed || s == StateCancelled
}
