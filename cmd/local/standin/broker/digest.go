package broker

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"regexp"
	"slices"
	"strings"
)

var number = regexp.MustCompile(`^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$`)

func bodyMD5(body string) string {
	sum := md5.Sum([]byte(body))
	return hex.EncodeToString(sum[:])
}

// AttributesMD5 is MD5OfMessageAttributes: names sorted, and of each the name,
// the type, a byte for the kind of value and the value, all but the byte with
// their length as 4 bytes in front. No attributes make an empty string.
func AttributesMD5(attributes map[string]Attribute) string {
	if len(attributes) == 0 {
		return ""
	}
	h := md5.New()
	field := func(s string) {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(s))))
		h.Write([]byte(s))
	}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		a := attributes[name]
		field(name)
		field(a.Type)
		if a.isBinary() {
			h.Write([]byte{2})
			field(string(a.Binary))
			continue
		}
		h.Write([]byte{1})
		field(a.String)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (a Attribute) isBinary() bool { return strings.HasPrefix(a.Type, "Binary") }
