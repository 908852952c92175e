package verb

import (
	"bufio"
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fleetsim/client"
	"fleetsim/load"
)

// poll keeps a long poll of every agent open.
func poll(ctx context.Context, options *options) error {
	if options.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, options.duration)
		defer cancel()
	}
	counts := load.NewCounts()
	options.pollAll(ctx, counts, nil)
	return printResult(counts.Result("poll"))
}

// pollAll checks in with every agent and then keeps its long poll open, until ctx ends. It calls
// opened when every agent has checked in.
func (o *options) pollAll(ctx context.Context, counts *load.Counts, opened func()) {
	lines := make([]client.Line, o.count)
	context.AfterFunc(ctx, func() {
		for n := range lines {
			lines[n].Stop()
		}
	})
	slots := make(chan struct{}, max(1, o.connections))
	var agents, checkedIn sync.WaitGroup
	checkedIn.Add(o.count)
	for n := range lines {
		agents.Go(func() {
			slots <- struct{}{} // so many connections are opened at once
			o.checkInUntilDone(ctx, counts, &lines[n], o.first+n)
			<-slots
			checkedIn.Done()
			for ctx.Err() == nil {
				o.pollOnce(ctx, counts, &lines[n], o.first+n)
			}
		})
	}
	if opened != nil {
		checkedIn.Wait()
		opened()
	}
	agents.Wait()
}

func (o *options) pollOnce(
	ctx context.Context, counts *load.Counts, line *client.Line, index int,
) {
	begin := time.Now()
	outcome := o.agents.CheckIn(line, index, o.wait, false)
	if ctx.Err() != nil {
		return
	}
	counts.Add(outcome, time.Since(begin))
	if !outcome.OK() {
		line.Close()
		pause(ctx, max(retryPause, outcome.RetryAfter))
	}
}

// checkInUntilDone tries until the agent has an answer.
func (o *options) checkInUntilDone(
	ctx context.Context, counts *load.Counts, line *client.Line, index int,
) {
	for ctx.Err() == nil {
		outcome := o.agents.CheckIn(line, index, 0, false)
		if outcome.OK() {
			return
		}
		if ctx.Err() == nil {
			counts.Add(outcome, 0)
		}
		line.Close()
		pause(ctx, max(retryPause, outcome.RetryAfter))
	}
}

// follow measures how long a commit takes to every agent. It prints a line when all agents have
// checked in, reads a line "COMMIT UNIX-TIME", and ends when every agent has a document with this
// commit, or after --duration.
func follow(ctx context.Context, options *options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	arrivals := make([]atomic.Int64, options.count)
	options.agents.OnChange = func(index int) {
		if n := index - options.first; n >= 0 && n < len(arrivals) {
			arrivals[n].Store(time.Now().UnixNano())
		}
	}
	ready := make(chan struct{})
	counts, ended := load.NewCounts(), make(chan *load.Counts, 1)
	go func() {
		if options.interval > 0 {
			lines := options.lines()
			options.eachAgentOnce(ctx, func(worker, index int) load.Outcome {
				defer lines[worker].Close()
				return options.agents.CheckIn(&lines[worker], index, 0, false)
			})
			close(ready)
			ended <- options.checkInInTurns(ctx)
			return
		}
		options.pollAll(ctx, counts, func() { close(ready) })
		ended <- counts
	}()
	<-ready
	commit, begin, err := readCommit()
	if err != nil {
		return err
	}
	latency, missing := options.awaitCommit(ctx, commit, begin, arrivals)
	cancel()
	result := (<-ended).Result("follow")
	result["agents"], result["missing"] = options.count, missing
	for name, share := range map[string]float64{"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1} {
		result[name] = load.Milliseconds(latency.Quantile(share))
	}
	return printResult(result)
}

// checkInInTurns lets every agent check in once in each interval.
func (o *options) checkInInTurns(ctx context.Context) *load.Counts {
	lines, plan := o.lines(), o.plan()
	plan.Rate = float64(o.count) / o.interval.Seconds()
	plan.Duration, plan.Requests = 0, 0
	return load.Run(ctx, plan, func(worker int, job load.Job) load.Outcome {
		if o.isNew {
			defer lines[worker].Close()
		}
		return o.agents.CheckIn(&lines[worker], job.Index, 0, false)
	})
}

func readCommit() (string, time.Time, error) {
	if err := printResult(load.Result{"verb": "ready"}); err != nil {
		return "", time.Time{}, err
	}
	text, err := bufio.NewReader(os.Stdin).ReadString('\n')
	words := strings.Fields(text)
	if err != nil || len(words) != 2 {
		return "", time.Time{}, errors.New("standard input has no line COMMIT UNIX-TIME")
	}
	seconds, err := strconv.ParseFloat(words[1], 64)
	return words[0], time.UnixMicro(int64(seconds * 1e6)), err
}

// awaitCommit waits until every agent has a document with the commit. It returns the time that each
// document took, and how many agents have none.
func (o *options) awaitCommit(
	ctx context.Context, commit string, begin time.Time, arrivals []atomic.Int64,
) (*load.Histogram, int) {
	if o.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.duration)
		defer cancel()
	}
	next := 0
	for next < o.count && ctx.Err() == nil {
		if o.hasCommit(o.first+next, commit) {
			next++ // an agent that has the commit keeps it
			continue
		}
		pause(ctx, 5*time.Millisecond)
	}
	latency, missing := &load.Histogram{}, 0
	for n := range arrivals {
		if o.hasCommit(o.first+n, commit) {
			latency.Add(time.Unix(0, arrivals[n].Load()).Sub(begin))
		} else {
			missing++
		}
	}
	return latency, missing
}

func (o *options) hasCommit(index int, commit string) bool {
	bundles, _ := o.agents.Documents.Bundles(index)
	for _, bundle := range bundles {
		if bundle.Commit == commit {
			return true
		}
	}
	return false
}
