package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/urfave/cli/v3"
)

// Formats of what a verb prints.
const (
	formatText = "table" // for people; "text" is an older name for it
	formatJSON = "json"
)

// outputFlag is -o. what says what JSON is of.
func outputFlag(what string) cli.Flag {
	return &cli.StringFlag{Name: "o", Value: formatText, Usage: "`FORMAT` of what is printed: table, or json for " + what}
}

// parseFormat reads -o.
func parseFormat(verb string, cmd *cli.Command) (string, error) {
	switch f := cmd.String("o"); f {
	case formatText, formatJSON:
		return f, nil
	case "text":
		return formatText, nil
	default:
		return formatText, fmt.Errorf("%s: -o is %q; it must be %s or %s", verb, f, formatText, formatJSON)
	}
}

// printLine prints v as a line of JSON, with "<" as it is: it is no HTML.
func printLine(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
