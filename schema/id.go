package schema

import (
	"crypto/sha256"
	"encoding/binary"
)

// MaxPartitions is the largest number of partitions that the events topic can have: an event's id keeps ten bits for it.
const MaxPartitions = 1 << partitionBits

// MaxID is the largest integer that JavaScript holds exactly, and so the largest id: 2^53-1.
const MaxID = 1<<53 - 1

const partitionBits = 10

// EventID returns the id of the event at offset in partition of the log whose incarnation starts at base:
// (base+offset)*1024 + partition. It is unique, at most [MaxID], and the same at every replay.
func EventID(base, offset int64, partition int32) int64 {
	return (base+offset)<<partitionBits | int64(partition)
}

// SplitEventID is the inverse of [EventID].
func SplitEventID(base, id int64) (offset int64, partition int32) {
	return id>>partitionBits - base, int32(id & (MaxPartitions - 1))
}

// KeyNumber returns the integer id of a tenant's key: the first 53 bits of SHA-256(tenant, 0, key_id), so that
// nobody allocates it.
func KeyNumber(tenant Tenant, keyID string) int64 {
	sum := sha256.Sum256(RecordKey(tenant, keyID))
	return int64(binary.BigEndian.Uint64(sum[:8]) >> 11)
}
