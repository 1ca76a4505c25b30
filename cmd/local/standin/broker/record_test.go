package broker

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

func FuzzDecodePayload(f *testing.F) {
	f.Add((&Payload{Body: "b", Sender: "s", Trace: "t", BodyMD5: "m", Attributes: map[string]Attribute{
		"a": {Type: "String", String: "v"}, "b": {Type: "Binary", Binary: []byte{1}},
	}}).encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, value []byte) {
		p, err := decodePayload(value)
		if err != nil {
			return
		}
		again, err := decodePayload(p.encode())
		if err != nil || !reflect.DeepEqual(p, again) {
			t.Errorf("%+v became %+v (%v)", p, again, err)
		}
	})
}

func FuzzDecodeMessage(f *testing.F) {
	now := time.Unix(1_700_000_000, 1)
	f.Add((&message{queue: &queue{id: 3}, id: "i", groupID: "g", dedupID: "d", source: "s", sent: now, hiddenUntil: now, receives: 2, nonce: 9, size: 5}).encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, value []byte) {
		m, id, err := decodeMessage(1, value)
		if err != nil {
			return
		}
		m.queue = &queue{id: id}
		again, same, err := decodeMessage(1, m.encode())
		if again.queue = m.queue; err != nil || same != id || !reflect.DeepEqual(m, again) {
			t.Errorf("%+v became %+v (%v)", m, again, err)
		}
	})
}

func TestHeapStaysInOrderWhateverIsRemoved(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var h heap[*message]
	var in []*message
	for step := range 5000 {
		if random.IntN(5) < 3 || len(in) == 0 {
			m := &message{seq: random.Uint64N(1000)}
			h.push(m)
			in = append(in, m)
		} else {
			i := random.IntN(len(in))
			h.remove(in[i])
			if in[i].index != absent {
				t.Fatal("a removed message still has a place")
			}
			in = slices.Delete(in, i, i+1)
		}
		if h.len() != len(in) {
			t.Fatalf("step %d: %d in the heap, want %d", step, h.len(), len(in))
		}
		if len(in) == 0 {
			continue
		}
		least := slices.MinFunc(in, func(a, b *message) int { return int(a.seq) - int(b.seq) })
		if h.min().seq != least.seq {
			t.Fatalf("step %d: the first is %d, want %d", step, h.min().seq, least.seq)
		}
	}
}

// The digests were seen in replies of SQS, and the last one in one of another
// implementation of it.
func TestAttributesMD5IsWhatSQSAnswers(t *testing.T) {
	for want, attributes := range map[string]map[string]Attribute{
		"":                                 nil,
		"235c5c510d26fb653d073faed50ae77c": {"timestamp": {Type: "Number", String: "1493147359900"}},
		"cd28f3b68aeee4b2eac9c66f2f694b58": {"SellerName": {Type: "String", String: "Example Store"}},
		"685b732e90c8767d6a48ce2b93feb3ee": {
			"n": {Type: "Number.int", String: "12"},
			"b": {Type: "Binary", Binary: []byte{0, 0xff}},
			"a": {Type: "String", String: "x"},
		},
	} {
		if got := AttributesMD5(attributes); got != want {
			t.Errorf("%v: digest %q, want %q", attributes, got, want)
		}
	}
}
