package load

import (
	"testing"
	"time"
)

func TestQuantilesAreWithinThreePercent(t *testing.T) {
	var histogram Histogram
	for n := 1; n <= 100_000; n++ {
		histogram.Add(time.Duration(n) * time.Microsecond)
	}
	for _, share := range []float64{0.1, 0.5, 0.9, 0.99, 1} {
		exact := share * 100_000
		measured := float64(histogram.Quantile(share).Microseconds())
		if measured < exact*0.999 || measured > exact*1.035 {
			t.Errorf("quantile %v is %v µs, not about %v µs", share, measured, exact)
		}
	}
}

func TestAnEmptyHistogramHasNoQuantile(t *testing.T) {
	var histogram Histogram
	if histogram.Quantile(0.5) != 0 || histogram.Max() != 0 {
		t.Error("an empty histogram has a duration")
	}
}

func TestMergedHistogramsCountBoth(t *testing.T) {
	var small, large Histogram
	small.Add(time.Millisecond)
	large.Add(time.Hour)
	small.Merge(&large)
	if small.Max() != time.Hour || small.Quantile(0.5) > 2*time.Millisecond {
		t.Error("the merged histogram lost a duration")
	}
}
