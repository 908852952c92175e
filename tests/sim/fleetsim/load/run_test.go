package load

import (
	"context"
	"sync"
	"testing"
	"time"
)

func requestsByAgent(plan Plan) map[int]int {
	var mutex sync.Mutex
	requests := map[int]int{}
	Run(context.Background(), plan, func(_ int, job Job) Outcome {
		mutex.Lock()
		defer mutex.Unlock()
		requests[job.Index]++
		return Outcome{Status: 304}
	})
	return requests
}

func TestEachAgentSendsItsShare(t *testing.T) {
	plans := map[string]Plan{
		"shared closed loop": {First: 5, Count: 10, Workers: 3, Requests: 30},
		"pinned closed loop": {First: 5, Count: 9, Workers: 3, Requests: 27, Pinned: true},
		"shared open loop":   {First: 5, Count: 10, Workers: 3, Requests: 30, Rate: 1e6},
		"pinned open loop":   {First: 5, Count: 9, Workers: 3, Requests: 27, Rate: 1e6, Pinned: true},
	}
	for name, plan := range plans {
		requests := requestsByAgent(plan)
		if len(requests) != plan.Count {
			t.Errorf("%s: %d agents sent requests, not %d", name, len(requests), plan.Count)
		}
		for index, count := range requests {
			if index < plan.First || index >= plan.First+plan.Count || count != 3 {
				t.Errorf("%s: agent %d sent %d requests", name, index, count)
			}
		}
	}
}

func TestAnAgentStaysOnItsWorker(t *testing.T) {
	var mutex sync.Mutex
	workers := map[int]map[int]bool{}
	plan := Plan{Count: 10, Workers: 4, Requests: 200, Pinned: true, Stay: 2}
	Run(context.Background(), plan, func(worker int, job Job) Outcome {
		mutex.Lock()
		defer mutex.Unlock()
		if workers[job.Index] == nil {
			workers[job.Index] = map[int]bool{}
		}
		workers[job.Index][worker] = true
		return Outcome{Status: 304}
	})
	for index, places := range workers {
		if len(places) != 1 {
			t.Errorf("agent %d was on %d workers", index, len(places))
		}
	}
}

func TestAnOpenLoopCountsTheTimeInTheQueue(t *testing.T) {
	plan := Plan{Count: 1, Workers: 1, Requests: 4, Rate: 1000}
	counts := Run(context.Background(), plan, func(int, Job) Outcome {
		time.Sleep(20 * time.Millisecond)
		return Outcome{Status: 304}
	})
	if slowest := counts.latency.Max(); slowest < 70*time.Millisecond {
		t.Errorf("the slowest request took %v, without the time in the queue", slowest)
	}
}

func TestAPlanEndsAtItsDuration(t *testing.T) {
	begin := time.Now()
	plan := Plan{Count: 1, Workers: 1, Rate: 10, Duration: 50 * time.Millisecond}
	Run(context.Background(), plan, func(int, Job) Outcome { return Outcome{Status: 304} })
	if passed := time.Since(begin); passed > 10*time.Second {
		t.Errorf("the plan took %v", passed)
	}
}
