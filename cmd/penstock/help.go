package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v3"
)

// Help is in the manner of Go's own commands: flags with one dash, as the
// documentation writes them (two do as well), each with its variable, its
// default and its consequence.
func init() {
	cli.HelpPrinter = func(w io.Writer, _ string, data any) {
		if cmd, ok := data.(*cli.Command); ok {
			printHelp(w, cmd)
		}
	}
}

const (
	helpWidth  = 88
	helpIndent = 26 // of the text beside a flag or a command
)

func printHelp(w io.Writer, cmd *cli.Command) {
	fmt.Fprintf(w, "%s: %s\n\nUsage:\n  %s", cmd.FullName(), cmd.Usage, cmd.FullName())
	if commands := cmd.VisibleCommands(); len(commands) > 0 {
		fmt.Fprint(w, " COMMAND [flags] [arguments]\n\nCommands:\n")
		for _, c := range commands {
			printEntry(w, c.Name, c.Usage)
		}
	} else {
		fmt.Fprintln(w, strings.TrimRight(" [flags] "+cmd.ArgsUsage, " "))
	}
	if cmd.Description != "" {
		fmt.Fprintf(w, "\n%s\n", cmd.Description)
	}
	if flags := cmd.VisibleFlags(); len(flags) > 0 {
		fmt.Fprint(w, "\nFlags:\n")
		for _, f := range flags {
			printFlag(w, f)
		}
	}
}

func printFlag(w io.Writer, f cli.Flag) {
	doc, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return
	}
	placeholder, text := unquote(doc.GetUsage())
	names := "-" + strings.Join(f.Names(), ", -")
	if doc.TakesValue() {
		names += " " + placeholder
	}
	if s := doc.GetValue(); doc.TakesValue() && s != "" && s != "0" && s != "0s" { // zero: the usage says what that is
		text += " (default " + strings.Trim(s, `"`) + ")"
	}
	if vars := doc.GetEnvVars(); len(vars) > 0 {
		text += " [$" + strings.Join(vars, ", $") + "]"
	}
	printEntry(w, names, text)
}

// unquote finds the name of a flag's value, which stands in backquotes in its
// usage, and gives the usage without the quotes.
func unquote(usage string) (placeholder, text string) {
	before, rest, ok := strings.Cut(usage, "`")
	name, after, closed := strings.Cut(rest, "`")
	if !ok || !closed {
		return "VALUE", usage
	}
	return name, before + name + after
}

// printEntry prints a name and, beside or below it, the text, wrapped.
func printEntry(w io.Writer, name, text string) {
	line := fmt.Sprintf("  %-*s", helpIndent-2, name)
	if len(name) > helpIndent-4 {
		fmt.Fprintln(w, "  "+name)
		line = strings.Repeat(" ", helpIndent)
	}
	begun := false
	for word := range strings.FieldsSeq(text) {
		if begun && len(line)+1+len(word) > helpWidth {
			fmt.Fprintln(w, line)
			line, begun = strings.Repeat(" ", helpIndent), false
		}
		if begun {
			line += " "
		}
		line += word
		begun = true
	}
	fmt.Fprintln(w, line)
}
