package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What a signature of AWS's version 4 has in it.
const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	timeForm   = "20060102T150405Z"
)

// maxSkew is how far a signature's time may be from this server's. It bounds
// for how long a call that was overheard can be sent again.
const maxSkew = 5 * time.Minute

// services are the signing names of SageMaker's runtime, and of API Gateway,
// which clients for the native API know.
var services = []string{"sagemaker", "execute-api"}

// signature is what the Authorization header says.
type signature struct {
	keyID, date, region, service string
	signed                       []string // names of headers, in lower case and in order
	hex                          string
}

// verify recomputes the signature of a call, over the very headers that the
// caller says it signed.
func (k *Keys) verify(r *http.Request, authorization string, maxBody int64) (caller string, err error) {
	s, err := parseSignature(authorization)
	if err != nil {
		return "", deny("IncompleteSignatureException", "%v", err)
	}
	stamp := r.Header.Get("X-Amz-Date")
	if err := k.checkScope(s, stamp); err != nil {
		return "", err
	}
	if err := s.coversWhatCounts(r.Header); err != nil {
		return "", err
	}
	owner, known := k.byID[s.keyID]
	if !known {
		return "", deny("UnrecognizedClientException", "the access key is not one that is known here; ask whoever runs this server for one")
	}
	payload, err := payload(r, maxBody)
	if err != nil {
		return "", err
	}
	canonical := sha256.Sum256([]byte(s.canonical(r, payload)))
	scope := strings.Join([]string{s.date, s.region, s.service, terminator}, "/")
	text := strings.Join([]string{algorithm, stamp, scope, hex.EncodeToString(canonical[:])}, "\n")
	signing := []byte("AWS4" + owner.secret)
	for _, part := range []string{s.date, s.region, s.service, terminator, text} {
		signing = mac(signing, part)
	}
	if subtle.ConstantTimeCompare([]byte(hex.EncodeToString(signing)), []byte(s.hex)) != 1 {
		return "", deny("InvalidSignatureException", "the signature is not that of this call with this key; check the secret key, and that nothing between you and this server changes the host, the path or signed headers")
	}
	return owner.name, nil
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func deny(code, format string, args ...any) *Denied {
	return &Denied{Status: http.StatusForbidden, Code: code, Message: fmt.Sprintf(format, args...)}
}

// parseSignature reads "Credential=ID/DATE/REGION/SERVICE/aws4_request,
// SignedHeaders=a;b, Signature=HEX".
func parseSignature(s string) (signature, error) {
	members := map[string]string{}
	for part := range strings.SplitSeq(s, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		members[name] = value
	}
	scope := strings.Split(members["Credential"], "/")
	if len(scope) != 5 || scope[4] != terminator || members["SignedHeaders"] == "" || members["Signature"] == "" {
		return signature{}, errors.New("the Authorization header must have Credential=ID/DATE/REGION/SERVICE/aws4_request, SignedHeaders and Signature")
	}
	return signature{
		keyID: scope[0], date: scope[1], region: scope[2], service: scope[3],
		signed: strings.Split(strings.ToLower(members["SignedHeaders"]), ";"), hex: members["Signature"],
	}, nil
}

// checkScope says whether the signature is for here and now.
func (k *Keys) checkScope(s signature, stamp string) error {
	if !slices.Contains(services, s.service) {
		return deny("InvalidSignatureException", "the signature is for the service %q; sign for %s", s.service, strings.Join(services, " or "))
	}
	at, err := time.Parse(timeForm, stamp)
	if err != nil {
		return deny("IncompleteSignatureException", "the header X-Amz-Date is %.40q; it must be a time such as %s", stamp, timeForm)
	}
	if !strings.HasPrefix(stamp, s.date) {
		return deny("InvalidSignatureException", "the credential is of the day %.20q, but X-Amz-Date is %s", s.date, stamp)
	}
	now := time.Now
	if k.Now != nil {
		now = k.Now
	}
	if off := now().Sub(at); off.Abs() > maxSkew {
		return deny("InvalidSignatureException", "the signature was made at %s, and it is %s here; more than %v apart are not taken: set the clocks right", stamp, now().UTC().Format(timeForm), maxSkew)
	}
	return nil
}

// coversWhatCounts says whether all of AWS's headers are signed: one that is not
// could have been added by anybody on the way. As with AWS, plain ones such as
// Accept may be left out, which some clients do: only TLS keeps those.
func (s signature) coversWhatCounts(h http.Header) error {
	need := []string{"host", "x-amz-date"}
	for name := range h {
		name = strings.ToLower(name)
		if strings.HasPrefix(name, "x-amz-") || strings.HasPrefix(name, "x-amzn-sagemaker-") {
			need = append(need, name)
		}
	}
	slices.Sort(need)
	for _, name := range need {
		if !slices.Contains(s.signed, name) {
			return deny("InvalidSignatureException", "the header %s is not signed; it must be", name)
		}
	}
	return nil
}

// payload is the body's hash, which the signature covers.
func payload(r *http.Request, maxBody int64) (string, error) {
	claimed := r.Header.Get("X-Amz-Content-Sha256")
	if claimed == "UNSIGNED-PAYLOAD" || strings.HasPrefix(claimed, "STREAMING-") {
		return "", deny("InvalidSignatureException", "the body is not signed as a whole (X-Amz-Content-Sha256: %.60s); sign its SHA-256, as clients do for every service but S3", claimed)
	}
	body := bytes.NewBuffer(make([]byte, 0, min(max(r.ContentLength, 0), maxBody)+bytes.MinRead))
	_, err := body.ReadFrom(http.MaxBytesReader(nil, r.Body, maxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return "", &Denied{Status: http.StatusRequestEntityTooLarge, Code: "RequestEntityTooLargeException", Message: fmt.Sprintf("the body has more than %d bytes; put a larger input into S3 and name it as the input", maxBody)}
	}
	if err != nil {
		return "", &Denied{Status: http.StatusBadRequest, Code: "IncompleteBody", Message: fmt.Sprintf("the body could not be read: %v", err)}
	}
	r.Body = io.NopCloser(bytes.NewReader(body.Bytes()))
	sum := sha256.Sum256(body.Bytes())
	hash := hex.EncodeToString(sum[:])
	if claimed != "" && claimed != hash {
		return "", deny("InvalidSignatureException", "the body is not the one whose hash is in X-Amz-Content-Sha256")
	}
	return hash, nil
}

// canonical is the call in the form that is signed.
func (s signature) canonical(r *http.Request, payload string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n%s\n", r.Method, canonicalPath(r.URL), canonicalQuery(r.URL))
	for _, name := range s.signed {
		fmt.Fprintf(&b, "%s:%s\n", name, canonicalHeader(r, name))
	}
	fmt.Fprintf(&b, "\n%s\n%s", strings.Join(s.signed, ";"), payload)
	return b.String()
}

// canonicalPath is the path as it was sent, escaped once more, as every
// service but S3 has it.
func canonicalPath(u *url.URL) string {
	path := u.EscapedPath()
	if path == "" {
		return "/"
	}
	return escape(path, "/")
}

// canonicalQuery is the query in the order of names and values.
func canonicalQuery(u *url.URL) string {
	query := u.Query()
	var pairs []string
	for _, name := range slices.SortedFunc(maps.Keys(query), func(a, b string) int {
		return strings.Compare(escape(a, ""), escape(b, ""))
	}) {
		values := query[name]
		slices.Sort(values)
		for _, v := range values {
			pairs = append(pairs, escape(name, "")+"="+escape(v, ""))
		}
	}
	return strings.Join(pairs, "&")
}

func canonicalHeader(r *http.Request, name string) string {
	values := r.Header[textproto.CanonicalMIMEHeaderKey(name)]
	switch {
	case name == "host":
		values = []string{r.Host}
	case name == "content-length" && values == nil:
		values = []string{strconv.FormatInt(r.ContentLength, 10)}
	}
	trimmed := make([]string, len(values))
	for i, v := range values {
		trimmed[i] = strings.Join(strings.FieldsFunc(v, func(c rune) bool { return c == ' ' || c == '\t' }), " ")
	}
	return strings.Join(trimmed, ",")
}

// escape is URI encoding as AWS has it: all but letters, digits, "-._~" and
// what else is to be kept.
func escape(s, keep string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~"+keep, c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
