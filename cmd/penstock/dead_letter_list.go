package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/cmd/penstock/deadletter"
)

func (p *program) deadLetterListCommand() *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "print what lies in the dead-letter queue, and why",
		Description: `Receives are counted by SQS over all queues and readers, looks such as this one
among them: they say nothing of how often a request was run.

With -o json each message is one line of JSON.

Exit codes: 0 also when there is none, 2 and 4 as of all commands.

Examples:
  penstock dead-letter list
  penstock dead-letter list -code Poison -older-than 24h
  penstock dead-letter list -o json | jq -r .input`,
		Flags: p.deadLetterFlags(append(choiceFlags(),
			&cli.IntFlag{Name: "limit", Value: 200, Usage: "print at most this `NUMBER` of messages"},
			outputFlag("one line for each message"),
		)...),
		Action: p.deadLetterList,
	}
}

// letterJSON is a letter for programs.
type letterJSON struct {
	ID       string    `json:"id"`
	Message  string    `json:"messageId"`
	Code     string    `json:"code"`
	Reason   string    `json:"reason"`
	Sent     time.Time `json:"sent"`
	Receives int       `json:"receives"`
	ByQueue  bool      `json:"movedByQueue,omitempty"`
	Source   string    `json:"source,omitempty"`
	Inputs   []string  `json:"inputs,omitempty"`
	Bytes    int       `json:"bytes"`
}

func toJSON(l deadletter.Letter) letterJSON {
	j := letterJSON{
		ID: l.ID(), Message: l.Message.ID, Code: l.Code(), Reason: l.Reason(), Sent: l.Message.Sent.UTC(),
		Receives: l.Message.ReceiveCount, ByQueue: l.ByQueue(), Source: l.Message.Source, Bytes: len(l.Message.Body),
	}
	for _, r := range l.Requests {
		j.Inputs = append(j.Inputs, r.Input.String())
	}
	return j
}

func (p *program) deadLetterList(ctx context.Context, cmd *cli.Command) error {
	limit := cmd.Int("limit")
	switch {
	case cmd.NArg() > 0:
		return usage("dead-letter list: it takes no arguments, but %q is given; penstock dead-letter show prints one message", cmd.Args().First())
	case limit < 1:
		return usage("dead-letter list: -limit is %d; it must be at least 1", limit)
	}
	b, err := p.deadLetters(ctx, cmd)
	if err != nil {
		return err
	}
	l := letterList{codes: map[string]int{}, table: table{head: []string{"id", "code", "age", "receives", "input", "reason"}}}
	err = p.read(ctx, b, func(s *deadletter.Session, letters []deadletter.Letter) (bool, error) {
		l.held = s.Count()
		for _, letter := range letters {
			if l.count == limit {
				l.cut = true
				return true, nil
			}
			if err := l.add(p, b, letter); err != nil {
				return false, err
			}
		}
		return false, nil
	})
	if err != nil || b.format == formatJSON {
		return err
	}
	return l.print(p, b)
}

// letterList is what list prints.
type letterList struct {
	table table
	codes map[string]int
	count int
	held  int // about how many there are in all
	cut   bool
}

func (l *letterList) add(p *program, b *box, letter deadletter.Letter) error {
	l.count++
	l.codes[letter.Code()]++
	if b.format == formatJSON {
		return printLine(p.stdout, toJSON(letter))
	}
	m := letter.Message
	input := letter.Input()
	if n := len(letter.Requests); n > 1 {
		input = fmt.Sprintf("%d requests", n)
	}
	l.table.add(plain(letter.ID()), plain(letter.Code()), ago(b.now().Sub(m.Sent)), fmt.Sprint(m.ReceiveCount), plain(input), plain(letter.Reason()))
	return nil
}

// write prints the letters, one a line; on a terminal, where such lines would
// be too long, with the input and the reason below.
func (l *letterList) write(w io.Writer, ink ink, columns int) error {
	if columns == 0 {
		return l.table.write(w, ink, 0)
	}
	const own = 4 // columns of a letter's own line
	heads := table{head: l.table.head[:own]}
	for _, row := range l.table.rows {
		heads.add(row[:own]...)
	}
	heads.below = func(row int) string {
		const indent = "    "
		text := indent + ink.faint(wrap(l.table.rows[row][own+1], columns, len(indent))) + "\n"
		if input := l.table.rows[row][own]; input != "" {
			text = indent + input + "\n" + text
		}
		return text
	}
	return heads.write(w, ink, columns)
}

func (l *letterList) print(p *program, b *box) error {
	if l.count == 0 {
		return p.noLetter(b)
	}
	if err := l.write(p.stdout, p.ink(p.stdout), columns(p.stdout)); err != nil {
		return err
	}
	var codes []string
	for _, code := range slices.Sorted(maps.Keys(l.codes)) {
		codes = append(codes, fmt.Sprintf("%d %s", l.codes[code], plain(code)))
	}
	fmt.Fprintf(p.stderr, "\npenstock: %s: %s\n", plural(l.count, "message"), strings.Join(codes, ", "))
	if l.cut {
		fmt.Fprintf(p.stderr, "penstock: there are more, about %d in all; -limit prints more of them\n", l.held)
	}
	return nil
}
