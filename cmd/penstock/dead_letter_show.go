package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/cmd/internal/settings"
	"github.com/penstock/penstock/cmd/penstock/deadletter"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
)

func (p *program) deadLetterShowCommand() *cli.Command {
	return &cli.Command{
		Name: "show", Usage: "print one message whole, with its failure object and its input", ArgsUsage: "ID",
		Description: `The ID is one that penstock dead-letter list prints, of a request or of a message.

Exit codes: 0, 2 also when there is no such message, 4 as of all commands.

Examples:
  penstock dead-letter show b1946ac92492d2347c6235b4d2611184
  penstock dead-letter show -o json b1946ac92492d2347c6235b4d2611184 | jq .failures`,
		Flags:  p.deadLetterFlags(append([]cli.Flag{outputFlag("one object")}, p.placeFlags()...)...),
		Action: p.deadLetterShow,
	}
}

// letterWhole is all that is known of a letter.
type letterWhole struct {
	letterJSON
	Attributes map[string]string `json:"attributes"`
	Body       string            `json:"body"`
	Unreadable string            `json:"unreadable,omitempty"` // why it can't be read as a request
	Looks      []look            `json:"requests,omitempty"`
}

// look is what is there of one of its requests.
type look struct {
	Input    string          `json:"input"`
	Found    string          `json:"found"` // of the input, in a sentence
	Place    string          `json:"failureObject,omitempty"`
	Failure  json.RawMessage `json:"failure,omitempty"`
	NoReport string          `json:"noFailure,omitempty"` // why there is no failure to show
}

// maxLooks bounds how many of a pack's requests are looked up.
const maxLooks = 20

func (p *program) deadLetterShow(ctx context.Context, cmd *cli.Command) error {
	if cmd.NArg() != 1 {
		return usage("dead-letter show: it takes the id of one message, but %d are given; penstock dead-letter list prints them", cmd.NArg())
	}
	b, err := p.deadLetters(ctx, cmd)
	if err != nil {
		return err
	}
	var locations *request.Locations
	if cmd.String(settings.Input) != "" || cmd.String(settings.Failure) != "" {
		l, err := p.locations(cmd)
		if err != nil {
			return err
		}
		locations = &l
	}
	met := map[string]bool{}
	err = p.read(ctx, b, func(_ *deadletter.Session, letters []deadletter.Letter) (bool, error) {
		all := b.meet(letters, met)
		for _, letter := range letters {
			if err := p.showLetter(ctx, b, letter, locations); err != nil {
				return false, err
			}
		}
		return all, nil
	})
	if err != nil {
		return err
	}
	return p.ended(ctx, p.missing(b.filter.IDs, met))
}

func (p *program) showLetter(ctx context.Context, b *box, l deadletter.Letter, locations *request.Locations) error {
	whole := letterWhole{letterJSON: toJSON(l), Attributes: l.Message.Attributes, Body: l.Message.Body}
	if l.Unreadable != nil {
		whole.Unreadable = l.Unreadable.Error()
	}
	for _, r := range l.Requests[:min(len(l.Requests), maxLooks)] {
		whole.Looks = append(whole.Looks, lookUp(ctx, b.store, locations, r))
	}
	if b.format == formatJSON {
		e := json.NewEncoder(p.stdout)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(whole)
	}
	return p.printLetter(b, l, whole)
}

// lookUp finds a request's input and failure object.
func lookUp(ctx context.Context, store storage.Reader, locations *request.Locations, r request.Request) look {
	k := look{Input: r.Input.String()}
	switch info, err := store.Head(ctx, r.Input); {
	case err == nil:
		k.Found = fmt.Sprintf("%d bytes, %s, uploaded %s", info.Size, info.ContentType, info.Modified.UTC().Format(time.RFC3339))
		if r.ETag != "" && r.ETag != info.ETag {
			k.Found += "; it is another version than the message is about"
		}
	case errors.Is(err, fs.ErrNotExist):
		k.Found = "it is not there any more"
	default:
		k.Found = fmt.Sprintf("it can't be looked at: %v", brief(err))
	}
	if locations == nil {
		k.NoReport = "not looked for: the locations are not set (-input, -output, -failure)"
		return k
	}
	place := locations.FailureOf(r)
	k.Place = place.String()
	object, err := store.Get(ctx, place, storage.GetOptions{})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		k.NoReport = "there is none"
		return k
	case err != nil:
		k.NoReport = fmt.Sprintf("it can't be read: %v", brief(err))
		return k
	}
	defer object.Body.Close()
	body, err := io.ReadAll(io.LimitReader(object.Body, maxShown))
	switch {
	case err != nil:
		k.NoReport = fmt.Sprintf("it can't be read: %v", err)
	case !json.Valid(body):
		k.NoReport = "what is there is no failure object"
	default:
		k.Failure = body
	}
	return k
}

// printLetter prints a letter for people.
func (p *program) printLetter(b *box, l deadletter.Letter, whole letterWhole) error {
	var w bytes.Buffer
	ink := p.ink(p.stdout)
	fact := func(name, format string, args ...any) {
		fmt.Fprintf(&w, "  %s  %s\n", ink.faint(fmt.Sprintf("%-9s", name)), plain(fmt.Sprintf(format, args...)))
	}
	fmt.Fprintf(&w, "%s\n\n", ink.bold(plain(whole.ID)))
	fact("code", "%s", whole.Code)
	fact("reason", "%s", whole.Reason)
	fact("message", "%s", whole.Message)
	fact("sent", "%s, %s ago", whole.Sent.Format(time.RFC3339), ago(b.now().Sub(whole.Sent)))
	fact("receives", "%d, by all readers, this look among them", whole.Receives)
	if whole.Source != "" {
		fact("moved by", "SQS, from %s", whole.Source)
	}
	for _, name := range slices.Sorted(maps.Keys(whole.Attributes)) {
		if name != request.LetterReason && name != request.LetterCode && name != request.LetterID {
			fact("attribute", "%s = %s", name, whole.Attributes[name])
		}
	}
	if whole.Unreadable != "" {
		fact("no request", "%s", whole.Unreadable)
	}
	for _, k := range whole.Looks {
		fmt.Fprintln(&w)
		fact("input", "%s", k.Input)
		fact("", "%s", k.Found)
		if k.Place != "" {
			fact("failure", "%s", k.Place)
		}
		if k.NoReport != "" {
			fact("", "%s", k.NoReport)
		}
		printIndented(&w, k.Failure)
	}
	if n := len(l.Requests) - len(whole.Looks); n > 0 {
		fmt.Fprintf(&w, "\n  … and %d requests more\n", n)
	}
	fmt.Fprintf(&w, "\n  %s\n", ink.faint("body"))
	if body := []byte(whole.Body); json.Valid(body) {
		printIndented(&w, body)
	} else {
		fmt.Fprintf(&w, "  %q\n", cut(whole.Body, 4000))
	}
	fmt.Fprintln(&w)
	_, err := p.stdout.Write(w.Bytes())
	return err
}

// printIndented prints JSON, below what it belongs to.
func printIndented(w *bytes.Buffer, body []byte) {
	if len(body) == 0 {
		return
	}
	w.WriteString("  ")
	_ = json.Indent(w, bytes.TrimSpace(body), "  ", "  ") // it is valid
	w.WriteString("\n")
}
