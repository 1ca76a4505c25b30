package stack

import "time"

// Patient is a configuration whose S3 and SQS may take their time to end, for
// tests that want to see them end by themselves.
func Patient(c Config) Config {
	c.closeLimit = time.Minute
	return c
}

// Reserve is reserve.
var Reserve = reserve
