package job

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
)

// frame is a record as TFRecord files hold it.
func frame(record string) []byte {
	checksum := func(b []byte) uint32 {
		c := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
		return (c>>15 | c<<17) + 0xa282ead8
	}
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(record)))
	b = binary.LittleEndian.AppendUint32(b, checksum(b))
	b = append(b, record...)
	return binary.LittleEndian.AppendUint32(b, checksum([]byte(record)))
}

// noise is text that compression can do little about.
func noise(n int) string {
	rnd := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(' ' + rnd.IntN(90))
	}
	return string(b)
}
