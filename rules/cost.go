package rules

// MaxAggregateBytes bounds the memory of one aggregate of one key.
const MaxAggregateBytes = 32 << 10

// WorstBytes is the most memory that the aggregate takes for one key. Package window keeps it.
func (a *Aggregate) WorstBytes() int {
	switch a.Call {
	case SinceLast:
		return 64
	case Count, Rate:
		return 12 << 10
	case FirstSeen:
		return 14 << 10
	default:
		return MaxAggregateBytes
	}
}
