package standin

import "github.com/penstock/penstock/cmd/local/standin/broker"

func (c *call) startMove(in *struct {
	SourceArn                    string
	DestinationArn               string
	MaxNumberOfMessagesPerSecond int
},
) (any, error) {
	if in.SourceArn == "" {
		return nil, missing("SourceArn")
	}
	handle, err := c.broker.StartMove(in.SourceArn, in.DestinationArn, in.MaxNumberOfMessagesPerSecond)
	if err != nil {
		return nil, err
	}
	return map[string]string{"TaskHandle": handle}, nil
}

func (c *call) cancelMove(in *struct{ TaskHandle string }) (any, error) {
	if in.TaskHandle == "" {
		return nil, missing("TaskHandle")
	}
	moved, err := c.broker.CancelMove(in.TaskHandle)
	if err != nil {
		return nil, err
	}
	return map[string]int{"ApproximateNumberOfMessagesMoved": moved}, nil
}

// moveResult is one task in the reply to ListMessageMoveTasks.
type moveResult struct {
	TaskHandle                        string `json:",omitempty"` // of a running task only
	Status                            broker.MoveStatus
	SourceArn                         string
	DestinationArn                    string `json:",omitempty"`
	MaxNumberOfMessagesPerSecond      int    `json:",omitempty"`
	ApproximateNumberOfMessagesMoved  int
	ApproximateNumberOfMessagesToMove int
	FailureReason                     string `json:",omitempty"`
	StartedTimestamp                  int64
}

func (c *call) listMoves(in *struct {
	SourceArn  string
	MaxResults *int
},
) (any, error) {
	if in.SourceArn == "" {
		return nil, missing("SourceArn")
	}
	most := 1
	if in.MaxResults != nil {
		most = *in.MaxResults
	}
	if most < 1 || most > 10 {
		return nil, broker.Errorf(broker.InvalidParameterValue, "Value %d for parameter MaxResults is invalid. Reason: Must be between 1 and 10, if provided.", most)
	}
	tasks, err := c.broker.Moves(in.SourceArn)
	if err != nil {
		return nil, err
	}
	results := make([]moveResult, 0, most)
	for _, t := range tasks[:min(most, len(tasks))] {
		r := moveResult{
			Status: t.Status, SourceArn: t.Source, DestinationArn: t.Destination,
			MaxNumberOfMessagesPerSecond:     t.Rate,
			ApproximateNumberOfMessagesMoved: t.Moved, ApproximateNumberOfMessagesToMove: t.ToMove,
			FailureReason: t.Failure, StartedTimestamp: t.Started.UnixMilli(),
		}
		if t.Status == broker.MoveRunning {
			r.TaskHandle = t.Handle
		}
		results = append(results, r)
	}
	return map[string]any{"Results": results}, nil
}
