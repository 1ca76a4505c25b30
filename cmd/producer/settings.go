package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/penstock/penstock/cmd/internal/frontdoor/auth"
	"github.com/penstock/penstock/cmd/internal/frontdoor/sagemaker"
	"github.com/penstock/penstock/cmd/internal/producer"
	"github.com/penstock/penstock/cmd/internal/settings"
)

// Settings beside those that all programs share, as flags are named: their
// variables are PENSTOCK_FILTER_PREFIX and so on. The second half means what it
// means to the front door's server.
const (
	filterPrefix      = "filter-prefix"
	filterSuffix      = "filter-suffix"
	filterMinSize     = "filter-min-size"
	filterMaxSize     = "filter-max-size"
	filterContentType = "filter-content-type"
	basePath          = "base-path"

	deadLetterURL  = "dead-letter-url"
	endpoints      = "endpoints"
	maxWait        = "max-wait"
	token          = "token"
	tokenFile      = "token-file"
	keyFile        = "key-file"
	allowAnonymous = "allow-anonymous"
)

// defaultMaxWait is less than the 29 seconds that API Gateway waits for a
// function.
const defaultMaxWait = 25 * time.Second

// options are all settings.
type options struct {
	settings.Installation
	filter         producer.Filter
	basePath       string
	deadLetterURL  string
	endpoints      map[string]string
	maxWait        time.Duration
	gate           auth.Gate
	allowAnonymous bool
}

// reader reads settings and keeps their faults.
type reader struct {
	lookup settings.Lookup
	errs   []error
}

func (r *reader) value(flag string) string {
	v, _ := r.lookup(settings.Name(flag))
	return strings.TrimSpace(v)
}

func (r *reader) fault(flag string, err error) {
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("%s: %w", flag, err))
	}
}

// readSettings reads all settings. All faults are reported at once, joined,
// each with the name of its setting.
func readSettings(lookup settings.Lookup) (options, error) {
	r := &reader{lookup: lookup}
	installation, err := settings.Read(lookup)
	r.errs = append(r.errs, err)
	o := options{Installation: installation, basePath: r.value(basePath), deadLetterURL: r.value(deadLetterURL), maxWait: defaultMaxWait}
	if o.deadLetterURL != "" && settings.CheckQueueURL(o.deadLetterURL) != nil {
		r.fault(deadLetterURL, fmt.Errorf("%q is not the URL of a queue", o.deadLetterURL))
	}
	o.filter = r.filter(installation)
	o.endpoints, err = sagemaker.ParseEndpoints(r.value(endpoints))
	r.errs = append(r.errs, err)
	if text := r.value(maxWait); text != "" {
		if o.maxWait, err = time.ParseDuration(text); err != nil || o.maxWait < time.Second {
			r.fault(maxWait, fmt.Errorf("%.40q is no time of a second or more; write it as 25s", text))
		}
	}
	if text := r.value(allowAnonymous); text != "" {
		if o.allowAnonymous, err = strconv.ParseBool(text); err != nil {
			r.fault(allowAnonymous, fmt.Errorf("%.40q is neither true nor false", text))
		}
	}
	files := &auth.Files{Tokens: r.value(tokenFile), Keys: r.value(keyFile), Token: r.value(token), TokenName: settings.Name(token)}
	o.gate, err = files.Open() // they are the function's own, or a layer's, and change with a new function
	r.errs = append(r.errs, err)
	return o, errors.Join(r.errs...)
}

func (r *reader) filter(in settings.Installation) producer.Filter {
	f := producer.Filter{
		Prefixes: list(r.value(filterPrefix)), Suffixes: list(r.value(filterSuffix)),
		MinSize: r.size(filterMinSize), MaxSize: r.size(filterMaxSize),
		ContentTypes: list(strings.ToLower(r.value(filterContentType))),
	}
	if f.MaxSize > 0 && f.MinSize > f.MaxSize {
		r.fault(filterMinSize, fmt.Errorf("%d bytes at least and %d at most let nothing through", f.MinSize, f.MaxSize))
	}
	for _, t := range f.ContentTypes {
		if family, kind, ok := strings.Cut(t, "/"); !ok || family == "" || kind == "" || strings.ContainsAny(t, "; ") {
			r.fault(filterContentType, fmt.Errorf("%.80q is no content type; write it as image/png or image/*, with commas between several", t))
		}
	}
	for _, p := range f.Prefixes {
		may := len(in.Locations.Inputs) == 0 // a fault of its own
		for _, location := range in.Locations.Inputs {
			may = may || strings.HasPrefix(p, location.Key) || strings.HasPrefix(location.Key, p)
		}
		if !may {
			r.fault(filterPrefix, fmt.Errorf("no key below an input location begins with %.80q; the whole key is meant, as in S3's own filters", p))
		}
	}
	return f
}

func (r *reader) size(flag string) int64 {
	text := r.value(flag)
	if text == "" {
		return 0
	}
	n, err := humanize.ParseBytes(text)
	if err != nil || n > math.MaxInt64 {
		r.fault(flag, fmt.Errorf("%.40q is not a size; write it as 1B or 64MiB", text))
		return 0
	}
	return int64(n)
}

// list splits what has commas between.
func list(text string) []string {
	var all []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			all = append(all, part)
		}
	}
	return all
}
