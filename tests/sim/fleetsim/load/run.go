package load

import (
	"context"
	"sync"
	"time"
)

const errorPause = 50 * time.Millisecond

// Plan says how many requests are sent, by which agents, and how fast.
type Plan struct {
	First, Count int           // the agents are First … First+Count-1, in turns
	Workers      int           // requests at once
	Rate         float64       // requests a second, whatever the answers take; 0: a closed loop
	Requests     int           // 0: no limit
	Duration     time.Duration // 0: no limit
	Stay         int           // requests in a row of one agent on one connection, at least 1
	Pinned       bool          // each agent keeps to one worker, as with a connection of its own
}

// Job is one request of one agent. Due is when it should begin.
type Job struct {
	Index int
	Due   time.Time
}

// Step sends the request of a job. A worker calls it for one job after the other.
type Step func(worker int, job Job) Outcome

// Run sends the requests of the plan and waits for their answers. In an open loop the latency
// counts from the time when the request was due, so that a stalled server is not forgiven.
func Run(ctx context.Context, plan Plan, step Step) *Counts {
	if plan.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, plan.Duration)
		defer cancel()
	}
	plan.Workers = max(1, min(plan.Workers, plan.Count))
	plan.Stay = max(1, plan.Stay)
	counts := NewCounts()
	queues := make([]chan Job, plan.Workers)
	shared := make(chan Job, plan.queueLength())
	for n := range queues {
		queues[n] = shared
		if plan.Pinned {
			queues[n] = make(chan Job, plan.queueLength())
		}
	}
	var workers sync.WaitGroup
	for n, queue := range queues {
		workers.Go(func() {
			for job := range queue {
				begin := time.Now()
				if plan.Rate > 0 {
					begin = job.Due
				}
				outcome := step(n, job)
				counts.Add(outcome, time.Since(begin))
				if outcome.Status == 0 {
					sleepUntil(ctx, time.Now().Add(errorPause)) // nobody answers
				}
			}
		})
	}
	plan.dispatch(ctx, queues)
	workers.Wait()
	return counts
}

func (p Plan) queueLength() int {
	switch {
	case p.Rate == 0:
		return 0
	case p.Pinned:
		return 16 // for each of very many workers
	}
	return 1 << 10
}

// dispatch hands out the jobs, and closes the queues when the plan is done.
func (p Plan) dispatch(ctx context.Context, queues []chan Job) {
	defer func() {
		for n, queue := range queues {
			if n == 0 || p.Pinned {
				close(queue)
			}
		}
	}()
	if p.Pinned && p.Rate == 0 {
		p.dispatchPinned(ctx, queues)
		return
	}
	begin := time.Now()
	for number := 0; p.Requests == 0 || number < p.Requests; number++ {
		worker := number % len(queues)
		job := Job{Index: p.First + number%p.Count, Due: begin}
		if p.Pinned {
			job.Index = p.agentOf(worker, number/len(queues), len(queues))
		}
		if p.Rate > 0 {
			job.Due = begin.Add(time.Duration(float64(number) / p.Rate * float64(time.Second)))
			if !sleepUntil(ctx, job.Due) {
				return
			}
		}
		select {
		case queues[worker] <- job:
		case <-ctx.Done():
			return
		}
	}
}

// dispatchPinned lets every worker go at its own speed through its own agents.
func (p Plan) dispatchPinned(ctx context.Context, queues []chan Job) {
	var dispatchers sync.WaitGroup
	for worker, queue := range queues {
		dispatchers.Go(func() {
			for turn := 0; ; turn++ {
				number := turn*len(queues) + worker
				if p.Requests > 0 && number >= p.Requests {
					return
				}
				job := Job{Index: p.agentOf(worker, turn, len(queues)), Due: time.Now()}
				select {
				case queue <- job:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	dispatchers.Wait()
}

// agentOf returns the agent of a worker's n-th request. A worker has every Workers-th agent.
func (p Plan) agentOf(worker, turn, workers int) int {
	agents := (p.Count - worker + workers - 1) / workers
	return p.First + worker + workers*(turn/p.Stay%agents)
}

func sleepUntil(ctx context.Context, due time.Time) bool {
	wait := time.Until(due)
	if wait <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
