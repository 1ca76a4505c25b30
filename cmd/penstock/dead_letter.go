package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/cmd/internal/settings"
	"github.com/penstock/penstock/cmd/penstock/deadletter"
)

func (p *program) deadLetterCommand() *cli.Command {
	return &cli.Command{
		Name: "dead-letter", Usage: "look at the dead-letter queue, send its messages again, or drop them",
		Description: `What a person must look at lies there: messages that are no request, inputs that
ended the worker's process, requests that failed at every attempt, and what SQS
itself moved because it was received too often. All but the first and the last
have a failure object that says the same.

SQS can't show a message without delivering it: a look hides it from others for up
to half a minute if this command is killed over it, else until the command ends,
and counts as one receive. Nothing else is changed by it.`,
		Commands: []*cli.Command{
			p.deadLetterListCommand(), p.deadLetterShowCommand(), p.deadLetterRedriveCommand(), p.deadLetterDropCommand(),
		},
		Action: p.noVerb,
	}
}

// deadLetterURL is the setting of the dead-letter queue, as the worker has it.
const deadLetterURL = "dead-letter-url"

// deadLetterFlags are those of all its verbs.
func (p *program) deadLetterFlags(own ...cli.Flag) []cli.Flag {
	return append(own,
		p.setting(settings.QueueURL, "`URL` of the SQS queue that requests go through"),
		p.setting(deadLetterURL, "`URL` of the dead-letter queue; default: the redrive target of the queue"),
	)
}

// choiceFlags choose letters.
func choiceFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "code", Usage: "only messages with this `CODE`, such as Poison, UnreadableMessage or " + deadletter.CodeReceivedTooOften},
		&cli.DurationFlag{Name: "older-than", Usage: "only messages that were sent longer than this `TIME` ago"},
	}
}

// box is a dead-letter queue and what its verbs need around it.
type box struct {
	services
	queueURL string
	dead     messageQueue
	filter   deadletter.Filter
	format   string
	seen     int // messages that were looked at, chosen or not
	hidden   int // messages that nobody can look at now, as far as SQS tells
}

// deadLetters reads the flags, and opens the dead-letter queue.
func (p *program) deadLetters(ctx context.Context, cmd *cli.Command) (*box, error) {
	verb := "dead-letter " + cmd.Name
	b := &box{queueURL: cmd.String(settings.QueueURL), filter: deadletter.Filter{
		IDs: cmd.Args().Slice(), Code: cmd.String("code"), OlderThan: cmd.Duration("older-than"),
	}}
	file, err := p.settingsFile()
	if err != nil {
		return nil, faultyFile(err)
	}
	var errs []error
	if b.filter.OlderThan < 0 {
		errs = append(errs, fmt.Errorf("%s: -older-than is %v; it can't be negative", verb, b.filter.OlderThan))
	}
	if slices.ContainsFunc(cmd.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), "o") }) {
		b.format, err = parseFormat(verb, cmd)
		errs = append(errs, err)
	}
	url := cmd.String(deadLetterURL)
	if b.queueURL == "" && url == "" && file == nil {
		errs = append(errs, fmt.Errorf("%s: no queue is given: there is no %s in %s or above it, and no PENSTOCK_QUEUE_URL; start local mode here (%s local), or set -queue-url", verb, settings.FileName, p.dir, p.self()))
	} else if err := settings.CheckQueueURL(b.queueURL); err != nil && url == "" {
		errs = append(errs, fmt.Errorf("%s: %w", verb, err))
	}
	if url != "" && settings.CheckQueueURL(url) != nil {
		errs = append(errs, fmt.Errorf("%s: %s: %q is not the URL of a queue; it looks like https://sqs.REGION.amazonaws.com/ACCOUNT/NAME", verb, deadLetterURL, url))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, &exit{exitUsage, err}
	}
	if b.services, err = p.openServices(ctx); err != nil {
		return nil, err
	}
	if url == "" {
		if url, err = b.services.deadLetterURL(ctx, b.queueURL); err != nil {
			return nil, fmt.Errorf("%s: find the dead-letter queue: %w%s; or name it by -%s", verb, brief(err), p.advice(err, deadLetterNeeds), deadLetterURL)
		}
		if url == "" {
			return nil, &exit{exitUsage, fmt.Errorf("%s: %s has no dead-letter queue; give it one by its RedrivePolicy, or name the worker's by -%s", verb, b.queueURL, deadLetterURL)}
		}
	}
	b.dead = b.services.queue(url)
	return b, nil
}

// noLetter says that there is no message, or none that was asked for.
func (p *program) noLetter(b *box) error {
	text := "the dead-letter queue is empty"
	switch {
	case b.seen > 0:
		text = "no such message is in the dead-letter queue"
	case b.hidden > 0: // which has been told
		text = "no message of the dead-letter queue can be seen now"
	}
	_, err := fmt.Fprintln(p.stderr, "penstock: "+text)
	return err
}

const deadLetterNeeds = "sqs:GetQueueAttributes and sqs:GetQueueUrl on both queues, sqs:ReceiveMessage, sqs:ChangeMessageVisibility and sqs:DeleteMessage on the dead-letter queue, and sqs:SendMessage on the queue"

// read shows each letter that the filter chooses to look, until it is done with
// them, and gives the others back. An interruption ends it between two letters.
func (p *program) read(ctx context.Context, b *box, look looker) error {
	return p.readThen(ctx, b, look, func(*deadletter.Session) error { return nil })
}

// looker looks at letters, and says whether it has seen enough.
type looker func(*deadletter.Session, []deadletter.Letter) (done bool, err error)

// readThen is read, and then calls then while nothing has been given back yet.
func (p *program) readThen(ctx context.Context, b *box, look looker, then func(*deadletter.Session) error) error {
	s, err := deadletter.Open(ctx, b.dead, b.now)
	if err != nil {
		return p.deadLetterTrouble(err)
	}
	defer s.Close(ctx)
	// Who has seen enough (| head -1) must not end this process before what it
	// has received is given back, or all would be hidden for half a minute.
	if p.outlivePipes != nil {
		defer p.outlivePipes()()
	}
	for {
		letters, err := s.Next(ctx)
		if err != nil {
			return p.deadLetterTrouble(err)
		}
		if len(letters) == 0 {
			p.tellHidden(b, s)
			return then(s)
		}
		b.seen += len(letters)
		now := b.now()
		letters = slices.DeleteFunc(letters, func(l deadletter.Letter) bool { return !b.filter.Matches(l, now) })
		if len(letters) == 0 {
			continue
		}
		done, err := look(s, letters)
		if errors.Is(err, syscall.EPIPE) {
			return &exit{code: exitTrouble} // nobody is there to be told
		}
		if err != nil {
			return err
		}
		if done {
			return then(s)
		}
	}
}

// tellHidden says that all was not seen.
func (p *program) tellHidden(b *box, s *deadletter.Session) {
	if b.hidden = s.Hidden(); b.hidden > 0 {
		p.say(fmt.Errorf("about %s can't be seen: another look at the queue goes on, or was killed; try again in half a minute", plural(b.hidden, "message")))
	}
}

func (p *program) deadLetterTrouble(err error) error {
	return fmt.Errorf("dead-letter: %w%s", brief(err), p.advice(err, deadLetterNeeds))
}

// missing tells of ids that no letter had, and says so in the exit code.
func (p *program) missing(ids []string, met map[string]bool) int {
	code := exitOK
	for _, id := range ids {
		if _, ok := met[id]; !ok {
			p.say(fmt.Errorf("%s: no message of that id is in the dead-letter queue; %s dead-letter list prints them", id, p.self()))
			code = exitUsage
		}
	}
	return code
}

// meet notes which of the filter's ids letters have. It says whether there can
// be no more: several messages can be of one request, but one id is of one
// message.
func (b *box) meet(letters []deadletter.Letter, met map[string]bool) (all bool) {
	for _, l := range letters {
		for _, id := range b.filter.IDs {
			if (deadletter.Filter{IDs: []string{id}}).Matches(l, time.Time{}) {
				met[id] = met[id] || id == l.Message.ID
			}
		}
	}
	for _, id := range b.filter.IDs {
		if !met[id] {
			return false
		}
	}
	return len(b.filter.IDs) > 0
}
