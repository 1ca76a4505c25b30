package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/cmd/internal/settings"
	"github.com/penstock/penstock/cmd/penstock/deadletter"
)

func (p *program) deadLetterRedriveCommand() *cli.Command {
	return &cli.Command{
		Name: "redrive", Usage: "send messages to the queue again, to be run afresh", ArgsUsage: "ID... | -all",
		Description: `Each message is sent to the queue and then deleted here, in this order, so that none
is lost. Its request is run afresh, whatever its time to live was, and its result,
or its new failure, takes the place of the failure object; until then wait and
status tell of the old failure.

Messages that SQS moved here from another queue than -queue-url are left alone.
What came after the command began is left alone, too: a request that fails again
at once is not sent round and round.

Exit codes: 0; 1 when a message could not be sent or was left alone; 2 also when
there is no message of an ID; 4 as of all commands.

Examples:
  penstock dead-letter redrive b1946ac92492d2347c6235b4d2611184
  penstock dead-letter redrive -all
  penstock dead-letter redrive -all -code ModelError -older-than 10m`,
		Flags: p.deadLetterFlags(append([]cli.Flag{
			&cli.BoolFlag{Name: "all", Usage: "all messages that the other flags choose"},
		}, choiceFlags()...)...),
		Action: p.deadLetterRedrive,
	}
}

// checkChoice sees to it that all messages are meant only when that is said.
func checkChoice(cmd *cli.Command) error {
	switch all := cmd.Bool("all"); {
	case cmd.NArg() == 0 && !all:
		return usage("dead-letter %s: name messages by their ids, or all by -all; penstock dead-letter list prints them", cmd.Name)
	case cmd.NArg() > 0 && all:
		return usage("dead-letter %s: -all and ids exclude each other", cmd.Name)
	}
	return nil
}

func (p *program) deadLetterRedrive(ctx context.Context, cmd *cli.Command) error {
	if err := checkChoice(cmd); err != nil {
		return err
	}
	if err := settings.CheckQueueURL(cmd.String(settings.QueueURL)); err != nil {
		return usage("dead-letter redrive: %w", err)
	}
	b, err := p.deadLetters(ctx, cmd)
	if err != nil {
		return err
	}
	to := b.services.queue(b.queueURL)
	a, err := to.Attributes(ctx)
	if err != nil {
		return p.deadLetterTrouble(err)
	}
	met := map[string]bool{}
	redriven, code := 0, exitOK
	line := progress{w: p.stderr, on: isTerminal(p.stderr)}
	err = p.read(ctx, b, func(s *deadletter.Session, letters []deadletter.Letter) (bool, error) {
		all := b.meet(letters, met)
		var ours []deadletter.Letter
		for _, l := range letters {
			if from := l.Message.Source; from != "" && from != a.ARN {
				line.clear()
				p.say(fmt.Errorf("%s: it was moved here from %s; redrive it with the -queue-url of that queue", l.ID(), from))
				code = exitFailed
				continue
			}
			ours = append(ours, l)
		}
		for i, err := range s.Redrive(ctx, to, ours) {
			if err == nil {
				redriven++
				continue
			}
			code = exitFailed
			if still, ok := errors.AsType[*deadletter.StillThereError](err); ok {
				redriven++
				err = still
			}
			line.clear()
			p.say(fmt.Errorf("%s: %w", ours[i].ID(), brief(err)))
		}
		line.show(fmt.Sprintf("%d redriven", redriven))
		return all, nil
	})
	line.clear()
	fmt.Fprintf(p.stdout, "%s redriven\n", plural(redriven, "message"))
	if err != nil {
		return err
	}
	return p.ended(ctx, max(code, p.missing(b.filter.IDs, met)))
}
