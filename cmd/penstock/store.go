package main

import (
	"context"

	"github.com/penstock/penstock/cmd/internal/clients"
	"github.com/penstock/penstock/storage"
	"github.com/penstock/penstock/storage/s3"
)

// openStore opens S3 by the AWS settings of this process's environment.
func openStore(ctx context.Context) (storage.Store, error) {
	c, err := clients.Open(ctx, clients.Options{Version: version()})
	if err != nil {
		return nil, err
	}
	return s3.New(c.S3), nil
}
