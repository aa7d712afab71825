package schema

import (
	"bytes"
	"fmt"
)

// Topic is the name of a Kafka topic.
type Topic string

// The topics. Events, verdicts and state have as many partitions as the log; partition p of Verdicts judges partition p
// of Events. A control topic has one partition, no compaction and no expiry; the last record of a key counts.
const (
	TopicEvents   Topic = "keypulse.events.v1"
	TopicVerdicts Topic = "keypulse.verdicts.v1"
	TopicState    Topic = "keypulse.state.v1" // the processors' checkpoints; read by them alone
	TopicLog      Topic = "keypulse.log"      // control: the log's incarnation ([LogRecord])
	TopicRules    Topic = "keypulse.rules"    // control: rules ([RuleRecord])
	TopicAPIKeys  Topic = "keypulse.apikeys"  // control: API keys ([APIKeyRecord])
	TopicKeys     Topic = "keypulse.keys"     // control: what owners say of their keys ([KeyRecord])

	// TopicAudit is what was done to API keys ([AuditRecord]): a control topic of which every record counts.
	TopicAudit Topic = "keypulse.audit"

	// TopicUses is when API keys were last used ([UsesRecord]): one partition; its readers shorten it.
	TopicUses Topic = "keypulse.apikey_uses"

	// TopicQuota is what nodes tell each other about rate limits ([QuotaRecord]): one partition, forgotten after minutes.
	TopicQuota Topic = "keypulse.quota"

	// TopicTickets is which tickets of the stream are used ([TicketRecord]): one partition, forgotten after an hour.
	TopicTickets Topic = "keypulse.tickets"

	// TopicAlertActions is a control topic of which every record counts ([AlertActionRecord]).
	TopicAlertActions Topic = "keypulse.alert_actions"

	TopicWebhooks Topic = "keypulse.webhooks" // control: where alerts are sent ([WebhookRecord])
	TopicSilences Topic = "keypulse.silences" // control: what is sent to nobody ([SilenceRecord])
	TopicSignups  Topic = "keypulse.signups"  // control: links of sign-ups that were used ([SignupRecord])

	// TopicNotices is what the notifier is to tell ([NoticeRecord]), by tenant; partition p of TopicOutbox is what became
	// of partition p of it. Both have [NoticePartitions].
	TopicNotices Topic = "keypulse.notices.v1"
	TopicOutbox  Topic = "keypulse.outbox.v1" // read by package notify alone
)

// NoticePartitions is fixed: it is how many notifier nodes may share the work, and a tenant's messages stay in one partition.
const NoticePartitions = 8

// RecordKey is the Kafka key of everything about one key of one tenant: tenant, a zero byte, key_id.
func RecordKey(tenant Tenant, keyID string) []byte {
	b := make([]byte, 0, len(tenant)+1+len(keyID))
	return AppendRecordKey(b, tenant, keyID)
}

// AppendRecordKey appends [RecordKey] to b.
func AppendRecordKey(b []byte, tenant Tenant, keyID string) []byte {
	b = append(b, tenant...)
	b = append(b, 0)
	return append(b, keyID...)
}

// SplitRecordKey is the inverse of [RecordKey].
func SplitRecordKey(key []byte) (Tenant, string, error) {
	tenant, keyID, ok := bytes.Cut(key, []byte{0})
	if !ok {
		return "", "", errNoSeparator(key)
	}
	return Tenant(tenant), string(keyID), nil
}

func errNoSeparator(key []byte) error {
	return fmt.Errorf("decode record key: no separator in %q", key)
}

// Partition returns the partition of a record key, as Kafka's own Java client chooses it:
// toPositive(murmur2(key)) mod partitions. So other producers and consumers agree with us.
func Partition(key []byte, partitions int32) int32 {
	return int32(murmur2(key)&0x7fffffff) % partitions
}

// murmur2 is Kafka's variant of Austin Appleby's MurmurHash2 with its fixed seed
// (org.apache.kafka.common.utils.Utils.murmur2).
func murmur2(data []byte) uint32 {
	const (
		seed uint32 = 0x9747b28c
		m    uint32 = 0x5bd1e995
		r           = 24
	)
	h := seed ^ uint32(len(data))
	for len(data) >= 4 {
		k := uint32(data[0]) | uint32(data[1])<<8 | uint32(data[2])<<16 | uint32(data[3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h *= m
		h ^= k
		data = data[4:]
	}
	switch len(data) {
	case 3:
		h ^= uint32(data[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(data[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return h
}
