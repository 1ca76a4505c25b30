package main

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/cmd/internal/settings"
	"github.com/penstock/penstock/queue/request"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/worker/job"
)

// shells are the scripts by which shells ask for completions.
//
//go:embed shells
var shells embed.FS

func (p *program) completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print a script by which a shell completes verbs, flags, URIs and ids", ArgsUsage: "bash | zsh | fish",
		Description: `URIs of inputs, ids of requests and of jobs are looked up where the settings say; a
shell waits for them for a second at most.

Examples:
  source <(penstock completion bash)      in ~/.bashrc
  source <(penstock completion zsh)       in ~/.zshrc, after compinit
  penstock completion fish > ~/.config/fish/completions/penstock.fish`,
		Action: func(_ context.Context, cmd *cli.Command) error {
			shell := cmd.Args().First()
			script, err := fs.ReadFile(shells, "shells/"+shell)
			if err != nil || cmd.NArg() != 1 {
				return usage("completion: name one shell: bash, zsh or fish")
			}
			_, err = p.stdout.Write(script)
			return err
		},
	}
}

// completeVerb is the verb that the scripts call, with the words of the line up
// to the cursor. It is no command like the others: any word may follow it.
const completeVerb = "__complete"

// What the scripts do beside offering candidates.
const (
	wordFiles   = ":files"   // complete names of files
	wordFolders = ":folders" // complete names of folders
	wordMore    = ":more"    // a candidate is not the whole word: no space behind it
)

const (
	completionLimit = time.Second
	maxCandidates   = 100
)

// complete prints the candidates for the last of the words, each with its
// description behind a tab. It tells of no fault: there is no place for it.
func (p *program) complete(ctx context.Context, words []string) int {
	ctx, cancel := context.WithTimeout(ctx, completionLimit)
	defer cancel()
	if len(words) == 0 {
		words = []string{""}
	}
	c := completer{program: p, ctx: ctx, cmd: p.command(), word: words[len(words)-1]}
	var values cli.Flag // the flag whose value comes next
	for _, w := range words[:len(words)-1] {
		switch name, isFlag := strings.CutPrefix(w, "-"); {
		case values != nil:
			values = nil
		case isFlag && w != "-":
			values = c.flag(strings.TrimPrefix(name, "-"))
		case c.args == 0 && c.cmd.Command(w) != nil:
			c.cmd = c.cmd.Command(w)
			c.verb = strings.TrimSpace(c.verb + " " + c.cmd.Name)
		default:
			c.args++
		}
	}
	switch {
	case values != nil:
		c.value(values.Names()[0])
	case strings.HasPrefix(c.word, "-"):
		c.flags()
	case len(c.cmd.Commands) > 0 && c.args == 0:
		for _, sub := range c.cmd.VisibleCommands() {
			c.offer(sub.Name, sub.Usage)
		}
	default:
		c.argument()
	}
	return exitOK
}

// completer completes one word.
type completer struct {
	*program
	ctx   context.Context
	cmd   *cli.Command
	verb  string // with those above it, as in "batch status"
	word  string
	args  int // of the command, before the word
	count int
}

// offer prints a candidate, if it begins like the word.
func (c *completer) offer(candidate, description string) {
	if !strings.HasPrefix(candidate, c.word) || c.count == maxCandidates || strings.ContainsAny(candidate, "\t\n") {
		return
	}
	c.count++
	fmt.Fprintf(c.stdout, "%s\t%s\n", candidate, plain(description))
}

// flag finds a flag that takes a value.
func (c *completer) flag(name string) cli.Flag {
	if strings.Contains(name, "=") {
		return nil
	}
	for _, f := range c.cmd.Flags {
		if doc, ok := f.(cli.DocGenerationFlag); ok && doc.TakesValue() && slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

// flags offers the command's flags, with as many dashes as were typed.
func (c *completer) flags() {
	dashes := "-"
	if strings.HasPrefix(c.word, "--") {
		dashes = "--"
	}
	for _, f := range c.cmd.VisibleFlags() {
		if doc, ok := f.(cli.DocGenerationFlag); ok {
			_, text := unquote(doc.GetUsage())
			c.offer(dashes+f.Names()[0], text)
		}
	}
	c.offer(dashes+"help", "show help")
}

// value offers values of a flag, by its name.
func (c *completer) value(flag string) {
	known := map[string][]string{
		"o":             {formatText, formatJSON},
		"record-errors": {request.ReportRecords, request.FailOnRecord},
		"accept":        {"application/json", "application/jsonlines", "text/csv", "application/x-npy", "application/x-npz"},
		"log-level":     {"debug", "info", "warn", "error"},
		"code":          {request.CodePoison, request.CodeModelError, request.CodeTimeout, request.CodeInternal, request.CodeUnreadable, request.CodeReceivedTooOften},
		"split-type":    {"None", "Line", "TFRecord"},
	}
	switch flag {
	case "out", "dir", "state", "model-cache":
		fmt.Fprintln(c.stdout, wordFolders)
	case "model", "token-file", "key-file":
		fmt.Fprintln(c.stdout, wordFiles)
	case settings.Input:
		if c.verb == "model inspect" {
			fmt.Fprintln(c.stdout, wordFiles)
		}
	default:
		for _, v := range known[flag] {
			c.offer(v, "")
		}
	}
}

// argument offers arguments of the command.
func (c *completer) argument() {
	switch c.verb {
	case "submit":
		if strings.HasPrefix(c.word, "s3:") {
			c.objects()
			return
		}
		fmt.Fprintln(c.stdout, wordFiles)
	case "model inspect":
		fmt.Fprintln(c.stdout, wordFiles)
	case "wait", "get", "status":
		c.objects()
		c.ids()
	case "cancel":
		c.ids()
	case "batch submit":
		c.objects()
	case "batch status", "batch watch", "batch cancel", "batch resume", "batch results":
		c.jobs()
	case "completion":
		for _, shell := range []string{"bash", "zsh", "fish"} {
			c.offer(shell, "")
		}
	}
}

// installed is the store and the locations that the settings name.
func (c *completer) installed() (storage.Store, request.Locations, bool) {
	value := func(name string) string {
		v, _ := c.lookup(settings.Name(name))
		return v
	}
	l, err := request.ParseLocations(value(settings.Input), value(settings.Output), value(settings.Failure), value(settings.State))
	if err != nil {
		return nil, l, false
	}
	store, err := c.openStore(c.ctx)
	return store, l, err == nil
}

// objects offers inputs, a folder at a time.
func (c *completer) objects() {
	if !strings.HasPrefix("s3://", c.word) && !strings.HasPrefix(c.word, "s3://") {
		return
	}
	store, l, ok := c.installed()
	if !ok {
		return
	}
	typed, err := storage.ParseRef(c.word)
	inside := err == nil && slices.ContainsFunc(l.Inputs, func(in storage.Ref) bool { return in.Contains(typed) })
	if !inside {
		for _, in := range l.Inputs {
			c.offer(in.String(), "an input location")
		}
		if c.count > 0 {
			fmt.Fprintln(c.stdout, wordMore)
		}
		return
	}
	folder := typed.Key[:strings.LastIndex(typed.Key, "/")+1]
	more := false
	for after := ""; c.count < maxCandidates; {
		name := c.next(store, typed, folder, after)
		if name == "" {
			break
		}
		c.offer("s3://"+typed.Bucket+"/"+folder+name, "")
		after = folder + name
		if strings.HasSuffix(name, "/") {
			more = true
			after += "\U0010FFFF" // behind all that is in it
		}
	}
	if more {
		fmt.Fprintln(c.stdout, wordMore)
	}
}

// next is the name of the first object or folder in a folder that comes after a
// key and begins like the typed one.
func (c *completer) next(store storage.Store, typed storage.Ref, folder, after string) string {
	for info, err := range store.List(c.ctx, typed, after) {
		if err != nil {
			return ""
		}
		name := strings.TrimPrefix(info.Ref.Key, folder)
		if name == "" {
			continue
		}
		if first, _, isFolder := strings.Cut(name, "/"); isFolder {
			return first + "/"
		}
		return name
	}
	return ""
}

// ids offers ids of requests that were accepted lately.
func (c *completer) ids() {
	if strings.HasPrefix(c.word, "s3:") {
		return
	}
	store, l, ok := c.installed()
	if !ok {
		return
	}
	folder := l.RecordOf("")
	for info, err := range store.List(c.ctx, l.RecordOf(c.word), "") {
		if err != nil || c.count == maxCandidates {
			return
		}
		if id, err := url.PathUnescape(strings.TrimPrefix(info.Ref.Key, folder.Key)); err == nil {
			c.offer(id, "")
		}
	}
}

// jobs offers ids of batch jobs.
func (c *completer) jobs() {
	store, l, ok := c.installed()
	if !ok {
		return
	}
	ids, err := job.Jobs(c.ctx, store, l)
	if err != nil {
		return
	}
	for _, id := range ids {
		c.offer(id, "")
	}
}
