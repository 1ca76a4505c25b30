package main

import (
	"fmt"

	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/worker/jsonpath"
)

// Scripts for SageMaker's Batch Transform have options that a job does not
// need. They are taken where that makes no difference, with a word on what holds
// instead, and refused where it would.

// transformFlags are those options.
func transformFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "compression-type", Usage: "`NAME` as in Batch Transform, None or Gzip: without effect, what is compressed with gzip is known by its content"},
		&cli.IntFlag{Name: "max-payload-in-mb", Usage: "`NUMBER` as in Batch Transform, 0 to 100: without effect, a record may have 16 MiB and an object what the worker's -max-object-size says"},
	}
}

// largestPayload is what Batch Transform's MaxPayloadInMB may be.
const largestPayload = 100

// checkTransformFlags refuses what would make a difference, and tells notes of
// what is without effect.
func checkTransformFlags(cmd *cli.Command) (notes []string, err error) {
	switch c := cmd.String("compression-type"); c {
	case "", "None", "Gzip":
	default:
		return nil, fmt.Errorf("the compression type is %q; it must be None or Gzip", c)
	}
	for _, flag := range []string{"input-filter", "output-filter"} {
		// One that is no path is told with what else is wrong with the job.
		if path, err := jsonpath.Parse(cmd.String(flag)); err == nil && path.Ends() {
			notes = append(notes, fmt.Sprintf("-%s %v: a slice ends before its second number, as in JSONPath; AWS's page on it says that the element of that number belongs to it", flag, path))
		}
	}
	if !cmd.IsSet("max-payload-in-mb") {
		return notes, nil
	}
	if n := cmd.Int("max-payload-in-mb"); n < 0 || n > largestPayload {
		return nil, fmt.Errorf("the largest payload is %d MB; it must be 0 to %d", n, largestPayload)
	}
	return append(notes, "-max-payload-in-mb is without effect: a record may have 16 MiB, an object what the worker's -max-object-size says"), nil
}
