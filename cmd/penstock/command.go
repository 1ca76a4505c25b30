package main

import (
	"context"
	"fmt"
	"regexp"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/cmd/internal/settings"
)

// command is the command line: what there is to say, and the way to each verb.
func (p *program) command() *cli.Command {
	root := &cli.Command{
		Name:  "penstock",
		Usage: "run TensorFlow models over objects in S3",
		Description: `Upload an object, get a result object: that is all there is to it. Settings are
found in flags, then in the environment (-queue-url is PENSTOCK_QUEUE_URL), then
in .penstock/env of this directory or the nearest one above it, which local mode
writes; or in the outputs of a CloudFormation stack, by -stack. The AWS variables
mean what they mean everywhere. Colours and bars are for terminals alone, and
colours are off where NO_COLOR is set.

Exit codes:
  0    all is well
  1    a request failed, as its failure object says; a file could not be
       submitted; a model can't be served; penstock doctor has found a fault
  2    the command line or the settings are wrong, or nothing is known of what
       was named
  3    there is no result yet
  4    S3, SQS, the network or a program that was started gave trouble
  130  interrupted

Examples:
  penstock demo                the whole of it on this machine, in seconds
  penstock local               the same, until Ctrl-C, for your own files
  penstock submit my.png       upload, wait, and print the result
  penstock status -stack mine s3://my-uploads/in/my.png
  penstock doctor              what is wrong with the installation
  source <(penstock completion bash)`,
		Flags:           []cli.Flag{p.stackFlag()},
		Version:         version(),
		HideHelpCommand: true, // a file may be named "help"
		Commands: []*cli.Command{
			p.demoCommand(), p.localCommand(), p.submitCommand(), p.waitCommand(), p.getCommand(),
			p.statusCommand(), p.cancelCommand(), p.batchCommand(), p.deadLetterCommand(), p.doctorCommand(),
			p.serveCommand(), p.modelCommand(), p.reconcileCommand(), p.cleanCommand(), p.completionCommand(),
		},
		Reader: p.stdin, Writer: p.stdout, ErrWriter: p.stderr,
		ExitErrHandler: func(context.Context, *cli.Command, error) {}, // run does it
		OnUsageError:   usageError,
		Action:         p.noVerb,
	}
	setUsageError(root.Commands)
	return root
}

func setUsageError(commands []*cli.Command) {
	for _, c := range commands {
		c.OnUsageError = usageError
		setUsageError(c.Commands)
	}
}

// noVerb is what happens when no verb was understood.
func (p *program) noVerb(_ context.Context, cmd *cli.Command) error {
	verb := cmd.Args().First()
	if verb == "" || verb == "help" {
		of := cmd
		for _, name := range cmd.Args().Tail() {
			if next := of.Command(name); next != nil {
				of = next
			}
		}
		cli.HelpPrinter(p.stdout, "", of)
		return nil
	}
	name := cmd.FullName()
	// The most similar verb may have nothing to do with what was meant. A slip
	// mostly spares the first letter.
	if like := cli.SuggestCommand(cmd.Commands, verb); like != "" && like[0] == verb[0] && like != "h" && like != "help" {
		return usage("%q is no command; did you mean %q? See %s -h", verb, like, name)
	}
	return usage("%q is no command; see %s -h", verb, name)
}

// badValue is how urfave/cli tells of a value that is no number and no time.
var badValue = regexp.MustCompile(`^invalid value ("(?:[^"\\]|\\.)*") for flag -(\S+): (time: |strconv\.ParseInt: )`)

// usageError makes a fault that urfave/cli found one line.
func usageError(_ context.Context, cmd *cli.Command, err error, isVerb bool) error {
	what := err.Error()
	if flag, ok := strings.CutPrefix(what, "flag provided but not defined: "); ok {
		what = "there is no flag " + flag
	}
	if m := badValue.FindStringSubmatch(what); m != nil {
		what = fmt.Sprintf("-%s is %s; it must be %s", m[2], m[1], "a whole number")
		if strings.HasPrefix(m[3], "time:") {
			what = fmt.Sprintf("-%s is %s; it must be %s", m[2], m[1], "a time such as 30s, 5m or 2h")
		}
	}
	if isVerb {
		what = strings.TrimPrefix(cmd.FullName(), "penstock ") + ": " + what
	}
	return usage("%s; see %s -h", what, cmd.FullName())
}

// version is that of the build, or the revision it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return versionOf(info)
}

func versionOf(info *debug.BuildInfo) string {
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 && !strings.HasPrefix(info.Main.Version, "v") {
			return s.Value[:12]
		}
	}
	return info.Main.Version
}

// placeFlags are the flags of verbs that must know where things lie.
func (p *program) placeFlags() []cli.Flag {
	return []cli.Flag{
		p.setting(settings.Input, "`URI` that inputs are uploaded to, s3://bucket/prefix/; of several, with commas between, the first"),
		p.setting(settings.Output, "`URI` that results are written to, s3://bucket/prefix/"),
		p.setting(settings.Failure, "`URI` that failure objects are written to, s3://bucket/prefix/"),
	}
}

// setting is a flag that is mirrored by the environment and by the settings
// file.
func (p *program) setting(name, usage string) cli.Flag {
	return &cli.StringFlag{
		Name: name, Usage: usage,
		Sources: cli.NewValueSourceChain(&source{settings.Name(name), p.lookup}),
	}
}

// source is a value that urfave/cli looks up.
type source struct {
	name   string
	lookup settings.Lookup
}

var (
	_ cli.ValueSource    = (*source)(nil)
	_ cli.EnvValueSource = (*source)(nil)
)

func (s *source) Lookup() (string, bool) { return s.lookup(s.name) }
func (s *source) IsFromEnv() bool        { return true }
func (s *source) Key() string            { return s.name }
func (s *source) String() string         { return s.name }
func (s *source) GoString() string       { return fmt.Sprintf("&source{%q}", s.name) }
