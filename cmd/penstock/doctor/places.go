package doctor

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/penstock/penstock/storage"
)

// cleanUpLimit bounds the removal of what was put.
const cleanUpLimit = 10 * time.Second

// bucket looks at a whole bucket.
func (d *Doctor) bucket(ctx context.Context, name string) ([]Finding, error) {
	for _, err := range d.Store.List(ctx, storage.Ref{Bucket: name, Key: ".penstock/none/"}, "") {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return []Finding{bad(Fault, "make it, or correct the location", "there is no bucket s3://%s", name)}, nil
		case errors.Is(err, storage.ErrForbidden):
			return []Finding{bad(Fault, "allow s3:ListBucket on arn:aws:s3:::"+name, "s3://%s may not be listed: S3 then answers 403 for objects that are not there yet, and whoever waits for a result gives up", name)}, nil
		case err != nil:
			return nil, err
		}
		break
	}
	list := []Finding{fine("s3://%s is there and can be listed", name)}
	if d.Buckets == nil {
		return list, nil
	}
	region, err := d.Buckets.Region(ctx, name)
	switch {
	case err != nil:
		return append(list, unknown("where s3://%s is could not be found out: %s", name, shorten(err))), nil
	case region != d.Region:
		return append(list, bad(Warning, "use buckets in the workers' region, or set AWS_REGION to "+region, "s3://%s is in %s, the settings say %s: each call goes round by a redirect, and bytes between regions cost money", name, region, d.Region)), nil
	}
	list[0].Found += ", in " + region
	return list, nil
}

// missing asks for an object that is not there. The error is nil when S3 says
// so, as everybody who waits for a result needs it.
func (d *Doctor) missing(ctx context.Context, place storage.Ref, folder string) (*Finding, error) {
	place.Key += folder + "none-" + rand.Text()
	_, err := d.Store.Head(ctx, place)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, storage.ErrForbidden):
		return new(bad(Fault, "allow s3:ListBucket on arn:aws:s3:::"+place.Bucket+" and s3:GetObject on what is in it",
			"for an object that is not there S3 answers 403, not 404: whoever waits for a result, be it boto3 or a worker, takes that for an end")), nil
	case err == nil:
		return new(bad(Fault, "use another S3 server", "the server has an object that nobody has written")), nil
	}
	return nil, err
}

// input looks at a place that inputs are read from, and changes nothing there.
func (d *Doctor) input(ctx context.Context, in storage.Ref) ([]Finding, error) {
	var list []Finding
	if f, err := d.missing(ctx, in, ownFolder); err != nil || f != nil {
		if f != nil {
			list = append(list, *f)
		}
		return list, err
	}
	first := d.firstInput(ctx, in)
	list = append(list, first)
	if first.Level == Unknown && first.About == noBucket {
		return list, nil
	}
	// An upload that is given up needs the right to write, but tells nobody.
	up, err := d.Store.Upload(ctx, storage.Ref{Bucket: in.Bucket, Key: in.Key + ownFolder + rand.Text()}, storage.PutOptions{})
	if errors.Is(err, storage.ErrForbidden) {
		return append(list, bad(Warning, "allow s3:PutObject on "+in.String()+"* if people upload by these credentials", "these credentials may not write to %s: penstock submit needs that, workers don't", in)), nil
	}
	if err != nil {
		return append(list, unknown("whether these credentials may write to %s: %s", in, shorten(err))), nil
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpLimit)
	defer cancel()
	if err := up.Abort(last); err != nil {
		return append(list, bad(Warning, "allow s3:AbortMultipartUpload, and end unfinished uploads by a lifecycle rule", "an upload that is given up can't be ended: %s", shorten(err))), nil
	}
	return append(list, fine("these credentials may write to it")), nil
}

// noBucket marks the finding that there is none to look into further.
const noBucket = "no bucket"

// firstInput reads a byte of some input.
func (d *Doctor) firstInput(ctx context.Context, in storage.Ref) Finding {
	looked := 0
	for info, err := range d.Store.List(ctx, in, "") {
		if errors.Is(err, fs.ErrNotExist) {
			f := unknown("%s was not tried: there is no such bucket", in)
			f.About = noBucket
			return f
		}
		if err != nil {
			return d.explain(err)
		}
		if looked++; info.Size == 0 && looked < 100 {
			continue
		}
		object, err := d.Store.Get(ctx, info.Ref, storage.GetOptions{Length: 1})
		if errors.Is(err, storage.ErrForbidden) {
			return bad(Fault, "allow s3:GetObject on "+in.String()+"*, and kms:Decrypt where the bucket is encrypted with a key", "%s may not be read", info.Ref)
		}
		if err != nil {
			return d.explain(err)
		}
		defer object.Body.Close()
		if _, err := io.ReadAll(object.Body); err != nil {
			return d.explain(err)
		}
		return fine("%s can be listed and read", in)
	}
	return unknown("%s can be listed and is empty; whether objects in it can be read is not known", in)
}

// place gives the check of a location that workers write to: it writes, reads
// and deletes an object of its own below a folder of it.
func (d *Doctor) place(at storage.Ref, folder string) func(context.Context) ([]Finding, error) {
	return func(ctx context.Context) ([]Finding, error) {
		if f, err := d.missing(ctx, at, folder); err != nil || f != nil {
			if f != nil {
				return []Finding{*f}, nil
			}
			return nil, err
		}
		p := probe{d.Store, storage.Ref{Bucket: at.Bucket, Key: at.Key + folder + rand.Text()}, []byte("penstock doctor")}
		defer p.remove(ctx)
		var list []Finding
		for _, step := range []struct {
			needs string
			do    func(context.Context) (*Finding, error)
		}{
			{"s3:PutObject", p.put},
			{"s3:GetObject", p.get},
			{"s3:PutObject", p.conditions},
			{"s3:AbortMultipartUpload", p.upload},
			{"s3:DeleteObject", p.delete},
		} {
			f, err := step.do(ctx)
			switch {
			case errors.Is(err, storage.ErrForbidden):
				return []Finding{bad(Fault, fmt.Sprintf("allow %s on arn:aws:s3:::%s/%s*; this was tried with the credentials of this shell, a worker's role may have others", step.needs, at.Bucket, at.Key), "%s is denied on %s", step.needs, at)}, nil
			case err != nil:
				return nil, err
			case f != nil:
				list = append(list, *f)
			}
			if f != nil && f.Level == Fault {
				break
			}
		}
		if len(list) > 0 {
			return list, nil
		}
		return []Finding{fine("%s: written, read, listed and deleted with these credentials; conditional writes and deletes are honoured", at)}, nil
	}
}

// probe is an object of the doctor's own.
type probe struct {
	store storage.Store
	ref   storage.Ref
	body  []byte
}

func (p probe) put(ctx context.Context) (*Finding, error) {
	_, err := p.store.Put(ctx, p.ref, p.body, storage.PutOptions{IfNoneMatch: true})
	return nil, err
}

func (p probe) get(ctx context.Context) (*Finding, error) {
	o, err := p.store.Get(ctx, p.ref, storage.GetOptions{})
	if err != nil {
		return nil, err
	}
	defer o.Body.Close()
	got, err := io.ReadAll(o.Body)
	if err == nil && !bytes.Equal(got, p.body) {
		return new(bad(Fault, "use another S3 server", "%s has other bytes than were written to it", p.ref)), nil
	}
	return nil, err
}

const (
	conditionsRemedy = "use S3 itself, or a server that honours If-None-Match and If-Match: without them two workers can write two results"
	deletionsRemedy  = "a worker looks just before it deletes, and so works; but a failure object that is replaced at that very moment can be lost: S3 itself honours If-Match of deletions"
)

// conditions tries what must not work.
func (p probe) conditions(ctx context.Context) (*Finding, error) {
	const nobodys = "0123456789abcdef0123456789abcdef"
	for _, try := range []struct {
		what   string
		level  Level
		remedy string
		do     func() error
	}{
		{"a write with If-None-Match: * over an object that is there", Fault, conditionsRemedy, func() error {
			_, err := p.store.Put(ctx, p.ref, p.body, storage.PutOptions{IfNoneMatch: true})
			return err
		}},
		{"a write with If-Match over another ETag", Fault, conditionsRemedy, func() error {
			_, err := p.store.Put(ctx, p.ref, p.body, storage.PutOptions{IfMatch: nobodys})
			return err
		}},
		{"an upload in parts with If-None-Match: * over an object that is there", Fault, conditionsRemedy, func() error {
			return p.uploadOver(ctx)
		}},
		{"a deletion with If-Match of another ETag", Warning, deletionsRemedy, func() error {
			return p.store.Delete(ctx, p.ref, storage.DeleteOptions{IfMatch: nobodys})
		}},
	} {
		switch err := try.do(); {
		case err == nil:
			return new(bad(try.level, try.remedy, "%s was not refused", try.what)), nil
		case errors.Is(err, errors.ErrUnsupported):
			return new(bad(try.level, try.remedy, "%s is refused as not implemented: the server has no such condition", try.what)), nil
		case !errors.Is(err, storage.ErrPrecondition):
			return nil, fmt.Errorf("%s: %w", try.what, err)
		}
	}
	return nil, nil
}

// uploadOver tries to complete an upload in parts where an object is, which must
// be refused.
func (p probe) uploadOver(ctx context.Context) error {
	up, err := p.store.Upload(ctx, p.ref, storage.PutOptions{IfNoneMatch: true})
	if err != nil {
		return err
	}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpLimit)
		defer cancel()
		_ = up.Abort(last) // whether that works the next step tells
	}()
	if err := up.PutPart(ctx, 1, p.body); err != nil {
		return err
	}
	_, err = up.Complete(ctx)
	return err
}

// upload begins an upload in parts and gives it up.
func (p probe) upload(ctx context.Context) (*Finding, error) {
	up, err := p.store.Upload(ctx, p.ref, storage.PutOptions{})
	if err != nil {
		return nil, err
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpLimit)
	defer cancel()
	return nil, up.Abort(last)
}

func (p probe) delete(ctx context.Context) (*Finding, error) {
	if err := p.store.Delete(ctx, p.ref, storage.DeleteOptions{}); err != nil {
		return nil, err
	}
	_, err := p.store.Head(ctx, p.ref)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err == nil:
		return new(bad(Fault, "use another S3 server", "%s is there after its deletion", p.ref)), nil
	}
	return nil, err
}

// remove removes the object once more, however the check ended.
func (p probe) remove(ctx context.Context) {
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpLimit)
	defer cancel()
	_ = p.store.Delete(last, p.ref, storage.DeleteOptions{}) // it has been told of, or is gone
}
