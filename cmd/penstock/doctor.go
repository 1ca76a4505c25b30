package main

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/cmd/internal/settings"
	"github.com/penstock/penstock/cmd/penstock/doctor"
	"github.com/penstock/penstock/cmd/penstock/inspect"
	modelsource "github.com/penstock/penstock/worker/model/source"
)

func (p *program) doctorCommand() *cli.Command {
	return &cli.Command{
		Name: "doctor", Usage: "examine an installation: what is wrong with it, and what to do",
		Description: `It looks at the queue and its dead-letter queue, the buckets, notifications and
loops, lifecycle rules, permissions by trying them, signs of life of workers, clocks,
the model and the versions of programs. Each line is

  ✓  tried, and as it should be
  !  works now, and will not always; with a remedy
  ✗  a fault, with its remedy
  ?  not tried, or the server doesn't tell

Everything is tried with the credentials of this shell: workers may have others. It
changes nothing but objects of its own, which it removes: below .penstock/doctor/ in
the output and failure locations, and below doctor/ in the state location. A look at
dead letters counts as a receive of them, and hides them for a second or two.

Exit codes: 0 no fault was found; 1 there is a fault; 2 the settings are wrong.

Examples:
  penstock doctor
  penstock doctor -addr 127.0.0.1:9090 -model s3://my-bucket/models/digits/
  penstock doctor -o json | jq '.[] | select(.level == "fault")'`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "addr", Usage: "`ADDRESS` of a worker's -addr, to ask it whether it is ready, such as 127.0.0.1:9090"},
			&cli.StringFlag{Name: "model", Usage: "`URI` as a worker's -model, to look whether there is a model that can be served; one in S3 is downloaded", Sources: p.variable("model")},
			outputFlag("a list of findings"),
			p.setting(settings.QueueURL, "`URL` of the SQS queue"),
			p.setting(deadLetterURL, "`URL` of the dead-letter queue; default: the redrive target of the queue"),
			p.setting(settings.BatchQueueURL, "`URL` of the SQS queue of batch jobs, if they have one"),
			p.setting(settings.Input, "`URI` of the locations that inputs may lie in, s3://bucket/prefix/, with commas between"),
			p.setting(settings.State, "`URI` where Penstock keeps its own objects; default .penstock/ in the output's bucket"),
		}, p.placeFlags()[1:]...),
		Action: p.doctor,
	}
}

func (p *program) doctor(ctx context.Context, cmd *cli.Command) error {
	if cmd.NArg() > 0 {
		return usage("doctor: it takes no arguments, but %q is given; see penstock doctor -h", cmd.Args().First())
	}
	format, err := parseFormat("doctor", cmd)
	if err != nil {
		return &exit{exitUsage, err}
	}
	d, err := p.newDoctor(ctx, cmd)
	if err != nil {
		return err
	}
	line := progress{w: p.stderr, on: isTerminal(p.stderr)}
	line.show("looking …")
	faults, warnings := 0, 0
	var list []doctor.Finding
	w := findingWriter{program: p, ink: p.ink(p.stdout), columns: columns(p.stdout)}
	d.Examine(ctx, func(f doctor.Finding) {
		switch f.Level {
		case doctor.Fault:
			faults++
		case doctor.Warning:
			warnings++
		}
		list = append(list, f)
		if format != formatJSON {
			line.clear()
			w.write(f)
			line.show("looking …")
		}
	})
	line.clear()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if format == formatJSON {
		e := json.NewEncoder(p.stdout)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(list); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(p.stdout, "\n%s, %s\n", plural(faults, "fault"), plural(warnings, "warning"))
	}
	if faults > 0 {
		return &exit{code: exitFailed}
	}
	return nil
}

// newDoctor reads the settings. All their faults are reported at once.
func (p *program) newDoctor(ctx context.Context, cmd *cli.Command) (*doctor.Doctor, error) {
	queueURL, dead := cmd.String(settings.QueueURL), cmd.String(deadLetterURL)
	locations, err := p.locations(cmd)
	var errs []error
	if err != nil {
		errs = append(errs, err)
	}
	if err := settings.CheckQueueURL(queueURL); err != nil && (queueURL != "" || !errors.Is(errors.Join(errs...), errNoSettings)) {
		errs = append(errs, fmt.Errorf("doctor: %w", err))
	}
	batch := cmd.String(settings.BatchQueueURL)
	if batch != "" && settings.CheckQueueURL(batch) != nil {
		errs = append(errs, fmt.Errorf("doctor: %s: %q is not the URL of a queue", settings.BatchQueueURL, batch))
	}
	addr := cmd.String("addr")
	if u, err := url.Parse("http://" + addr); addr != "" && (err != nil || u.Host != addr) {
		errs = append(errs, fmt.Errorf("doctor: -addr is %q; it must be host:port of a worker, such as 127.0.0.1:9090", addr))
	}
	if len(errs) > 0 {
		return nil, &exit{exitUsage, errors.Join(errs...)}
	}
	s, err := p.openServices(ctx)
	if err != nil {
		return nil, err
	}
	d := &doctor.Doctor{
		Locations: locations, Store: s.store, Buckets: s.buckets, Region: s.region, Now: s.now, Skew: s.skew,
		Queue: s.queue(queueURL), QueueURL: queueURL, Addr: addr, Programs: p.programVersions,
		DeadLetters: func(ctx context.Context) (doctor.Queue, error) {
			at := dead
			if at == "" {
				var err error
				if at, err = s.deadLetterURL(ctx, queueURL); err != nil || at == "" {
					return nil, err
				}
			}
			return s.queue(at), nil
		},
	}
	if batch != "" {
		d.Batch, d.BatchURL = s.queue(batch), batch
	}
	if named := cmd.String("model"); named != "" {
		d.Model = func(ctx context.Context) (doctor.Finding, error) { return p.examineModel(ctx, s, named) }
	}
	return d, nil
}

// findingWriter writes findings for people.
type findingWriter struct {
	*program
	ink     ink
	columns int
	about   string // of the last one
}

func (w *findingWriter) write(f doctor.Finding) {
	mark := map[doctor.Level]string{
		doctor.Fine: w.ink.green("✓"), doctor.Warning: w.ink.bold("!"), doctor.Fault: w.ink.red("✗"), doctor.Unknown: w.ink.faint("?"),
	}[f.Level]
	about := f.About
	if about == w.about {
		about = ""
	}
	w.about = f.About
	const indent = 18
	text := wrap(plain(f.Found), w.columns, indent)
	if f.Remedy != "" {
		text += "\n" + strings.Repeat(" ", indent) + w.ink.bold(wrap("→ "+plain(f.Remedy), w.columns, indent))
	}
	gap := strings.Repeat(" ", max(indent-3-len([]rune(about)), 1))
	fmt.Fprintf(w.stdout, "%s %s%s %s\n", mark, about, gap, text)
}

// wrap breaks text into lines that fit the columns, each but the first indented.
// 0 columns are no limit.
func wrap(text string, columns, indent int) string {
	if columns <= indent+20 {
		return text
	}
	var b strings.Builder
	used := indent
	for i, word := range strings.Fields(text) {
		n := len([]rune(word))
		switch {
		case i == 0:
		case used+1+n > columns:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			used = indent
		default:
			b.WriteString(" ")
			used++
		}
		b.WriteString(word)
		used += n
	}
	return b.String()
}

// examineModel looks at what a worker's -model names.
func (p *program) examineModel(ctx context.Context, s services, named string) (doctor.Finding, error) {
	list, err := modelsource.Parse(named)
	if err != nil {
		return doctor.Finding{Level: doctor.Fault, Found: err.Error(), Remedy: "see bin/worker -h on -model"}, nil
	}
	var good []string
	for _, one := range list {
		if !strings.HasPrefix(one.URI, "s3://") {
			one.URI = inDir(p.dir, one.URI)
		}
		m, err := inspect.Open(ctx, one, s.store, filepath.Join(os.TempDir(), "penstock-models"), func(string) {})
		if err != nil {
			return doctor.Finding{Level: doctor.Fault, Found: fmt.Sprintf("%s: %v", one.URI, brief(err)), Remedy: "penstock model inspect " + one.URI + " says more"}, nil
		}
		faults := m.Report.Faults
		good = append(good, fmt.Sprintf("%s, %s", m.Report.Name, plural(len(m.Signatures), "signature")))
		m.Release()
		if len(faults) > 0 {
			return doctor.Finding{Level: doctor.Fault, Found: fmt.Sprintf("%s can't be served: %s", one.URI, faults[0]), Remedy: "penstock model inspect " + one.URI + " says more"}, nil
		}
	}
	return doctor.Finding{Level: doctor.Fine, Found: fmt.Sprintf("there is a SavedModel: %s; it was not loaded, which penstock model inspect does", strings.Join(good, "; "))}, nil
}

// programVersions compares the programs beside this one with it: of one build
// they understand each other.
func (p *program) programVersions(context.Context) ([]doctor.Finding, error) {
	self := version()
	if self == "(devel)" || self == "unknown" {
		return []doctor.Finding{{Level: doctor.Unknown, Found: "this build has no version, so whether the programs are of one build is not known"}}, nil
	}
	var same, others []string
	for _, name := range []string{"worker", "producer", "local"} {
		info, err := buildinfo.ReadFile(filepath.Join(p.bin, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			others = append(others, fmt.Sprintf("%s (%v)", name, reason(err)))
		case versionOf(info) != self:
			others = append(others, fmt.Sprintf("%s is of %s", name, versionOf(info)))
		default:
			same = append(same, name)
		}
	}
	switch {
	case len(others) > 0:
		return []doctor.Finding{{Level: doctor.Warning, Found: fmt.Sprintf("penstock is of %s, but beside it %s", self, strings.Join(others, ", ")), Remedy: "build them together: make build"}}, nil
	case len(same) == 0:
		return []doctor.Finding{{Level: doctor.Unknown, Found: fmt.Sprintf("penstock is of %s; no other program is beside it, and what runs elsewhere was not asked", self)}}, nil
	}
	return []doctor.Finding{{Level: doctor.Fine, Found: fmt.Sprintf("%s, and %s beside it; what runs elsewhere was not asked", self, strings.Join(same, ", "))}}, nil
}
