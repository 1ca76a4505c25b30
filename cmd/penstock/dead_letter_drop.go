package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/cmd/penstock/deadletter"
	"github.com/penstock/penstock/queue"
)

func (p *program) deadLetterDropCommand() *cli.Command {
	return &cli.Command{
		Name: "drop", Usage: "delete messages for good", ArgsUsage: "ID... | -all",
		Description: `Failure objects and inputs stay. It asks first; where there is no terminal to ask on,
-yes must be given.

Exit codes: 0; 1 when a message could not be deleted, or the answer was no; 2 also
when there is no message of an ID; 4 as of all commands.

Examples:
  penstock dead-letter drop b1946ac92492d2347c6235b4d2611184
  penstock dead-letter drop -all -code UnreadableMessage -yes`,
		Flags: p.deadLetterFlags(append([]cli.Flag{
			&cli.BoolFlag{Name: "all", Usage: "all messages that the other flags choose"},
			&cli.BoolFlag{Name: "yes", Usage: "don't ask"},
		}, choiceFlags()...)...),
		Action: p.deadLetterDrop,
	}
}

func (p *program) deadLetterDrop(ctx context.Context, cmd *cli.Command) error {
	if err := checkChoice(cmd); err != nil {
		return err
	}
	if !cmd.Bool("yes") && !isTerminal(p.stdin) {
		return usage("dead-letter drop: it deletes for good, and there is no terminal to ask on; say -yes")
	}
	b, err := p.deadLetters(ctx, cmd)
	if err != nil {
		return err
	}
	met := map[string]bool{}
	var chosen []deadletter.Letter
	deleted, code := 0, exitOK
	drop := func(s *deadletter.Session) error {
		if len(chosen) == 0 {
			return nil
		}
		if !cmd.Bool("yes") && !p.confirm(ctx, chosen) {
			p.say(fmt.Errorf("nothing was dropped"))
			code = exitFailed
			return nil
		}
		for i, err := range s.Delete(ctx, chosen...) {
			if err == nil {
				deleted++
				continue
			}
			code = exitFailed
			p.say(fmt.Errorf("%s: %w", chosen[i].ID(), brief(err)))
		}
		fmt.Fprintf(p.stdout, "%s dropped\n", plural(deleted, "message"))
		return nil
	}
	err = p.readThen(ctx, b, func(_ *deadletter.Session, letters []deadletter.Letter) (bool, error) {
		all := b.meet(letters, met)
		for _, l := range letters {
			// Without its body: there may be many, and a body may be a MiB.
			l.Message = &queue.Message{ID: l.Message.ID, Receipt: l.Message.Receipt, Attributes: l.Message.Attributes}
			l.Requests = nil
			chosen = append(chosen, l)
		}
		return all, nil
	}, drop)
	if err != nil {
		return err
	}
	if len(chosen) == 0 && len(b.filter.IDs) == 0 {
		if err := p.noLetter(b); err != nil {
			return err
		}
	}
	return p.ended(ctx, max(code, p.missing(b.filter.IDs, met)))
}

// confirm asks whether to drop letters.
func (p *program) confirm(ctx context.Context, letters []deadletter.Letter) bool {
	moved := 0
	for _, l := range letters {
		if l.ByQueue() {
			moved++
		}
	}
	if moved > 0 {
		fmt.Fprintf(p.stderr, "penstock: %d of them were moved here by SQS itself, and their requests may have no failure object: redrive them instead, or their senders wait in vain\n", moved)
	}
	fmt.Fprintf(p.stderr, "Drop %s for good? [y/N] ", plural(len(letters), "message"))
	answer := make(chan string, 1)
	go func() { // it can't be waited for: a read of a terminal can't be called off
		line, _ := bufio.NewReader(p.stdin).ReadString('\n')
		answer <- line
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(p.stderr)
		return false
	case line := <-answer:
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return true
		}
		return false
	}
}
