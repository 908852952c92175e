package verb

import (
	"context"
	"sync"
	"time"

	"fleetsim/client"
	"fleetsim/load"
)

// storm lets every agent connect anew and check in once, at a rate, as after a restart of the
// manager. An agent that gets no right answer tries again until it has it.
func storm(ctx context.Context, options *options) error {
	if options.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, options.duration)
		defer cancel()
	}
	counts := load.NewCounts()
	jobs := make(chan load.Job, options.count)
	var open, workers sync.WaitGroup
	open.Add(options.count)
	for range options.connections {
		workers.Go(func() {
			for job := range jobs {
				if ctx.Err() != nil || options.checkInOnce(counts, job) {
					open.Done()
					continue
				}
				// The agent has its turn again after a pause; the worker goes on with others.
				time.AfterFunc(retryPause, func() { jobs <- job })
			}
		})
	}
	begin := time.Now()
	for n := range options.count {
		due := begin
		if options.rate > 0 {
			due = begin.Add(time.Duration(float64(n) / options.rate * float64(time.Second)))
			pause(ctx, time.Until(due))
		}
		jobs <- load.Job{Index: options.first + n, Due: due}
	}
	open.Wait()
	close(jobs)
	workers.Wait()
	result := counts.Result("storm")
	result["unanswered"] = options.count - result["ok"].(int)
	if first := counts.First(); !first.IsZero() && options.since > 0 {
		start := time.UnixMicro(int64(options.since * 1e6))
		result["firstAnswer"] = load.Milliseconds(first.Sub(start))
	}
	return printResult(result)
}

// checkInOnce tells whether the agent needs no other try.
func (o *options) checkInOnce(counts *load.Counts, job load.Job) bool {
	var line client.Line
	defer line.Close()
	outcome := o.agents.CheckIn(&line, job.Index, 0, false)
	counts.Add(outcome, time.Since(job.Due))
	return outcome.OK() || outcome.IsFinal()
}
