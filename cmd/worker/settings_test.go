//go:build cgo

package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/urfave/cli/v3"

	"github.com/penstock/penstock/cmd/internal/clients/clientstest"
	shared "github.com/penstock/penstock/cmd/internal/settings"
)

func TestEverySettingIsKnown(t *testing.T) {
	t.Parallel()
	for _, f := range new(settings).flags() {
		for _, name := range f.(cli.DocGenerationFlag).GetEnvVars() {
			if !shared.IsKnown(name) {
				t.Errorf("%s is read, and would be warned of", name)
			}
		}
	}
}

// A setting that was misspelt may be the one that is missing.
func TestARefusalTellsOfMisspeltSettings(t *testing.T) {
	clientstest.Environment(t, "PENSTOCK_QUEUE_ULR", "http://127.0.0.1:1/1/q")
	var stderr bytes.Buffer
	code := run(t.Context(), []string{"-model", "m"}, &stderr, &stderr)
	if code != exitSettings || !strings.Contains(stderr.String(), "queue-url: no queue is given") || !strings.Contains(stderr.String(), "did you mean PENSTOCK_QUEUE_URL?") {
		t.Errorf("exit code %d:\n%s", code, stderr.String())
	}
}

func TestAMisspeltSettingIsWarnedOfAtTheStart(t *testing.T) {
	clientstest.Environment(
		t,
		"PENSTOCK_MAX_BATCH_SIZ", "7",
		"PENSTOCK_FILTER_PREFIX", "in/", // the producer's
		"AWS_REGION", "us-east-1",
		"AWS_MAX_ATTEMPTS", "1",
		"AWS_ENDPOINT_URL", "http://127.0.0.1:1", // nobody answers, and so the start ends there
	)
	var stderr bytes.Buffer
	code := run(t.Context(), []string{
		"-model", t.TempDir(), "-queue-url", "http://127.0.0.1:1/1/q", "-addr", "127.0.0.1:0",
		"-input", "s3://uploads/in/", "-output", "s3://results/out/", "-failure", "s3://results/failed/",
	}, &stderr, &stderr)
	if code != exitFailed || strings.Count(stderr.String(), `"msg":"unknown setting"`) != 1 || !strings.Contains(stderr.String(), "did you mean PENSTOCK_MAX_BATCH_SIZE?") {
		t.Errorf("exit code %d:\n%s", code, stderr.String())
	}
}
