package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// table is rows of text in columns, below heads if it has some. The last column may be long: it is cut
// where it would not fit the terminal, and never elsewhere.
type table struct {
	head []string
	rows [][]string
	// below, when set, gives whole lines that belong below a row.
	below func(row int) string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// write prints the table, with bold heads and no line longer than columns; 0 is
// no limit.
func (t *table) write(w io.Writer, ink ink, columns int) error {
	rows := t.rows
	if t.head != nil {
		rows = slices.Concat([][]string{t.head}, t.rows)
	}
	var widths []int
	for _, row := range rows {
		widths = append(widths, make([]int, max(len(row)-len(widths), 0))...)
		for i, cell := range row[:len(row)-1] {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	line := func(row []string, paint func(int, string) string) error {
		var b strings.Builder
		used := 0
		for i, cell := range row {
			if i == len(row)-1 {
				if columns > 0 {
					cell = cut(cell, max(columns-used, 8))
				}
				b.WriteString(paint(i, cell))
				break
			}
			b.WriteString(paint(i, cell) + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			used += widths[i] + 2
		}
		_, err := fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
		return err
	}
	if t.head != nil {
		if err := line(t.head, func(_ int, s string) string { return ink.bold(s) }); err != nil {
			return err
		}
	}
	for n, row := range t.rows {
		if err := line(row, func(_ int, s string) string { return s }); err != nil {
			return err
		}
		if t.below == nil {
			continue
		}
		if _, err := io.WriteString(w, t.below(n)); err != nil {
			return err
		}
	}
	return nil
}

// cut shortens s to n characters, of which the last then is an ellipsis.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// plain makes foreign text fit for one line of a terminal: what it has of
// control characters could move the cursor, or worse.
func plain(s string) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// ago says how old something is, in one unit or two.
func ago(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}
