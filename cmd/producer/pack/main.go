// Command pack writes the zip that Lambda takes of the producer, for `make
// producer-zip`: the one file bootstrap, which may be executed. The same
// program gives the same zip, byte for byte, whenever and wherever it is
// packed, so that a deployment sees whether anything changed.
package main

import (
	"archive/zip"
	"compress/flate"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dustin/go-humanize"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("pack", flag.ContinueOnError)
	flags.SetOutput(stderr)
	to := flags.String("o", "", "`FILE` to write")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if *to == "" || flags.NArg() != 1 {
		fmt.Fprintln(stderr, "pack: use pack -o producer.zip path/to/bootstrap")
		return 2
	}
	size, err := pack(*to, flags.Arg(0))
	if err != nil {
		fmt.Fprintln(stderr, "pack:", err)
		return 1
	}
	fmt.Fprintf(stdout, "%s: %s\n", *to, humanize.IBytes(uint64(size)))
	return 0
}

// epoch is the earliest time that a zip can name.
var epoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// pack writes the zip aside and renames it: whoever deploys meanwhile has the
// old one or the new one.
func pack(to, program string) (size int64, err error) {
	body, err := os.ReadFile(program)
	if err != nil {
		return 0, err
	}
	f, err := os.Create(to + ".new")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name()) // when it was not renamed
	if err := errors.Join(write(f, body), f.Close()); err != nil {
		return 0, err
	}
	info, err := os.Stat(f.Name())
	if err != nil {
		return 0, err
	}
	return info.Size(), os.Rename(f.Name(), to)
}

func write(w io.Writer, program []byte) error {
	z := zip.NewWriter(w)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flate.BestCompression)
	})
	head := &zip.FileHeader{Name: "bootstrap", Method: zip.Deflate, Modified: epoch}
	head.SetMode(0o755)
	file, err := z.CreateHeader(head)
	if err != nil {
		return err
	}
	if _, err := file.Write(program); err != nil {
		return err
	}
	return z.Close()
}
