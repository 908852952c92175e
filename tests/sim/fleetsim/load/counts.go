package load

import (
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Outcome is what came of one request. Status 0 with an Error is a request without an answer.
type Outcome struct {
	Status     int
	Error      string        // a word for the cause, "" for none
	RetryAfter time.Duration // what the manager asked for
	Bytes      int64
}

// OK tells whether the answer was right.
func (o Outcome) OK() bool { return o.Error == "" }

// IsFinal tells whether the manager refused the request, so that it makes no sense to try again.
func (o Outcome) IsFinal() bool {
	isBusy := o.Status == http.StatusTooManyRequests || o.Status == http.StatusRequestTimeout
	return o.Status >= 400 && o.Status < 500 && !isBusy
}

// Counts sums up outcomes. Its methods may be called from many goroutines.
type Counts struct {
	mutex    sync.Mutex
	latency  Histogram
	requests int
	statuses map[int]int
	errors   map[string]int
	bytes    int64
	first    time.Time // of the first right answer
	begin    time.Time
	end      time.Time
}

// NewCounts starts the clock.
func NewCounts() *Counts {
	return &Counts{statuses: map[int]int{}, errors: map[string]int{}, begin: time.Now()}
}

// Add counts an outcome and its latency.
func (c *Counts) Add(outcome Outcome, latency time.Duration) {
	now := time.Now()
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.requests++
	c.end = now
	c.bytes += outcome.Bytes
	if outcome.Status != 0 {
		c.statuses[outcome.Status]++
	}
	if !outcome.OK() {
		c.errors[outcome.Error]++
		return
	}
	c.latency.Add(latency)
	if c.first.IsZero() {
		c.first = now
	}
}

// Result is one line of JSON. Times are in milliseconds unless the key says seconds.
type Result map[string]any

// Result returns the counts. Only right answers have a latency.
func (c *Counts) Result(verb string) Result {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	seconds := max(1e-9, c.end.Sub(c.begin).Seconds())
	statuses := map[string]int{}
	for status, count := range c.statuses {
		statuses[strconv.Itoa(status)] = count
	}
	return Result{
		"verb": verb, "requests": c.requests, "ok": c.latency.count,
		"seconds": round(seconds), "rate": round(float64(c.latency.count) / seconds),
		"p50": Milliseconds(c.latency.Quantile(0.5)), "p90": Milliseconds(c.latency.Quantile(0.9)),
		"p99": Milliseconds(c.latency.Quantile(0.99)), "max": Milliseconds(c.latency.Max()),
		"statuses": statuses, "errors": c.errors, "bytes": c.bytes,
	}
}

// First returns the time of the first right answer.
func (c *Counts) First() time.Time {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.first
}

// Begin returns when the clock started.
func (c *Counts) Begin() time.Time { return c.begin }

// Milliseconds converts a duration, rounded to microseconds.
func Milliseconds(duration time.Duration) float64 {
	return round(float64(duration.Microseconds()) / 1000)
}

func round(value float64) float64 { return math.Round(value*1000) / 1000 }
