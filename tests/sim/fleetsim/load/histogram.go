// Package load offers requests in open or closed loops and counts what comes of them.
package load

import (
	"math/bits"
	"time"
)

const (
	subBits = 5 // 32 buckets for each power of two: 3 % resolution
	buckets = 40 << subBits
)

// Histogram counts durations in microseconds, with a resolution of 3 %.
type Histogram struct {
	counts [buckets]uint32
	count  int
	max    time.Duration
}

// Add counts a duration.
func (h *Histogram) Add(duration time.Duration) {
	h.counts[bucketOf(duration)]++
	h.count++
	h.max = max(h.max, duration)
}

// Merge adds the counts of another histogram.
func (h *Histogram) Merge(other *Histogram) {
	for n, count := range other.counts {
		h.counts[n] += count
	}
	h.count += other.count
	h.max = max(h.max, other.max)
}

// Max returns the longest duration.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile returns the duration that a share of all durations does not exceed.
func (h *Histogram) Quantile(share float64) time.Duration {
	limit, sum := int(share*float64(h.count)), 0
	for n, count := range h.counts {
		sum += int(count)
		if count > 0 && sum >= limit {
			return min(h.max, upperBound(n))
		}
	}
	return h.max
}

func bucketOf(duration time.Duration) int {
	value := uint64(max(0, duration.Microseconds()))
	shift := max(0, bits.Len64(value)-subBits-1)
	return min(buckets-1, shift<<subBits+int(value>>shift))
}

func upperBound(bucket int) time.Duration {
	if bucket < 2<<subBits {
		return time.Duration(bucket+1) * time.Microsecond
	}
	shift := bucket>>subBits - 1
	value := uint64(bucket - shift<<subBits + 1)
	return time.Duration(value<<shift) * time.Microsecond
}
