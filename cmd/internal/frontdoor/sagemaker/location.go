package sagemaker

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/penstock/penstock/storage"
)

// outputPath joins the extension of the output path and the file name. Where
// only the first is given, the file's name is made of the id.
func (f *faults) outputPath(extension, file, id string) string {
	var parts []string
	for part := range strings.SplitSeq(extension, "/") {
		switch {
		case part == "":
		case strings.Trim(part, ".") == "":
			f.add(extension, pathExtension.name, "Member must have no path segment of dots alone")
		default:
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 && file == "" {
		return ""
	}
	if file == "" {
		file = nameOf(id)
	}
	return strings.Join(append(parts, file), "/")
}

var plainID = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,36}$`)

// nameOf is a file name made of an id: the id itself where it can be one.
func nameOf(id string) string {
	if plainID.MatchString(id) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16])
}

// parseLocation reads an object's URI: s3://, or https:// as S3's console and
// clients show it.
func parseLocation(s string) (storage.Ref, error) {
	ref, err := parseURI(s)
	if err == nil {
		err = ref.Validate()
	}
	switch {
	case err != nil:
		return storage.Ref{}, fmt.Errorf("InputLocation must be an S3 URI: %w", err)
	case ref.Key == "" || strings.HasSuffix(ref.Key, "/"):
		return storage.Ref{}, errors.New("InputLocation must be an S3 URI of an object, and this is one of a folder")
	}
	return ref, nil
}

// s3Host is a host of S3's own, with the bucket before it or not.
var s3Host = regexp.MustCompile(`^(?:(.+)\.)?s3(?:[.-](?:dualstack\.)?[a-z0-9-]+)?\.amazonaws\.com(?:\.cn)?$`)

func parseURI(s string) (storage.Ref, error) {
	if !strings.HasPrefix(s, "https://") {
		return storage.ParseRef(s)
	}
	u, err := url.Parse(s)
	if err != nil {
		return storage.Ref{}, err
	}
	host := s3Host.FindStringSubmatch(u.Host)
	if host == nil {
		return storage.Ref{}, fmt.Errorf("the host %q is not S3's; write it as s3://bucket/key", u.Host)
	}
	bucket, key := host[1], strings.TrimPrefix(u.Path, "/")
	if bucket == "" {
		bucket, key, _ = strings.Cut(key, "/")
	}
	// What is not understood must not make it another object.
	query, err := url.ParseQuery(u.RawQuery)
	version := query.Get("versionId")
	delete(query, "versionId")
	if err != nil || len(query) > 0 || u.User != nil || u.Fragment != "" || strings.HasSuffix(s, "#") {
		return storage.Ref{}, errors.New("it has more than a host, a key and a versionId; write ? and # in a key as %3F and %23, or the location as s3://bucket/key")
	}
	return storage.Ref{Bucket: bucket, Key: key, Version: version}, nil
}
