package rules

// MaxAggregateBytes bounds the memory of one aggregate of one key: see [Aggregate.WorstBytes] for each call.
const MaxAggregateBytes = 32 << 10

// WorstBytes is the most memory that the aggregate takes for one key. Package window keeps it.
func (a *Aggregate) WorstBytes() int {
	switch a.Call {
	case SinceLast:
		return 64
	case Count, Rate:
		return 17 << 10 // a thousand times and 256 slices
	case FirstSeen:
		return 13 << 10 // a thousand hashes with their times
	case Distinct:
		return 31 << 10 // the same and a sketch
	default:
		return 26 << 10 // a thousand numbers with their times, their blocks, and 256 slices
	}
}
