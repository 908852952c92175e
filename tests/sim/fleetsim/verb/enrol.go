package verb

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"fleetsim/client"
	"fleetsim/load"
)

const retryPause = 200 * time.Millisecond

// enrol enrols every agent that has no cluster yet. It tries again while the manager is away: the
// same key and token get the same cluster.
func enrol(ctx context.Context, options *options) error {
	token, err := readToken(options.tokenFile)
	if err != nil {
		return err
	}
	if options.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, options.duration)
		defer cancel()
	}
	counts := load.NewCounts()
	var next atomic.Int64
	var workers sync.WaitGroup
	for range options.connections {
		workers.Go(func() {
			var line client.Line
			defer line.Close()
			for {
				index := options.first + int(next.Add(1)) - 1
				if index >= options.first+options.count || ctx.Err() != nil {
					return
				}
				if !options.agents.Record(index).Enrolled {
					enrolUntilDone(ctx, options, counts, &line, index, token)
				}
			}
		})
	}
	workers.Wait()
	result := counts.Result("enrol")
	result["unanswered"] = options.unenrolled()
	return printResult(result)
}

func enrolUntilDone(
	ctx context.Context, options *options, counts *load.Counts,
	line *client.Line, index int, token string,
) {
	for ctx.Err() == nil {
		begin := time.Now()
		outcome := options.agents.Enrol(line, index, token)
		counts.Add(outcome, time.Since(begin))
		if outcome.OK() || outcome.IsFinal() {
			return
		}
		line.Close()
		pause(ctx, max(retryPause, outcome.RetryAfter))
	}
}

// unenrolled counts the agents without a cluster.
func (o *options) unenrolled() int {
	count := 0
	for index := o.first; index < o.first+o.count; index++ {
		if !o.agents.Record(index).Enrolled {
			count++
		}
	}
	return count
}

func pause(ctx context.Context, duration time.Duration) {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
