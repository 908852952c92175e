package verb

import (
	"context"

	"fleetsim/client"
	"fleetsim/load"
)

const sendAll = "409 send-all"

// report sends status reports. Each agent first gets its document and sends a full report, as after
// its start; this is printed as a line of its own. Then each report changes one deployment.
func report(ctx context.Context, options *options) error {
	agents, lines := options.agents, options.lines()
	if err := options.loadDocuments(ctx, lines); err != nil {
		return err
	}
	first := options.eachAgentOnce(ctx, func(worker, index int) load.Outcome {
		return agents.Report(&lines[worker], index, 0, true)
	})
	if err := printResult(first.Result("first-report")); err != nil {
		return err
	}
	if options.isWarm {
		if err := waitForLine(); err != nil {
			return err
		}
	}
	turns := make([]uint8, options.count)
	counts := load.Run(ctx, options.plan(), func(worker int, job load.Job) load.Outcome {
		turn := &turns[job.Index-options.first]
		*turn++
		line := &lines[worker]
		if options.isNew {
			defer line.Close()
		}
		outcome := agents.Report(line, job.Index, int(*turn), options.isFull)
		if outcome.Error == sendAll {
			outcome = agents.Report(line, job.Index, int(*turn), true)
		}
		return outcome
	})
	return printResult(counts.Result("report"))
}

// loadDocuments gets the documents that are not in memory, and tries again while that fails.
func (o *options) loadDocuments(ctx context.Context, lines []client.Line) error {
	counts := o.eachAgentOnce(ctx, func(worker, index int) load.Outcome {
		for {
			if _, isKnown := o.agents.Documents.Bundles(index); isKnown {
				return load.Outcome{Status: 200}
			}
			outcome := o.agents.CheckIn(&lines[worker], index, 0, true)
			if outcome.OK() || outcome.IsFinal() || ctx.Err() != nil {
				return outcome
			}
			pause(ctx, max(retryPause, outcome.RetryAfter))
		}
	})
	return printResult(counts.Result("documents"))
}

// eachAgentOnce calls the step for every agent, as fast as the answers come.
func (o *options) eachAgentOnce(
	ctx context.Context, step func(worker, index int) load.Outcome,
) *load.Counts {
	plan := o.plan()
	plan.Rate, plan.Duration, plan.Requests, plan.Pinned = 0, 0, o.count, false
	return load.Run(ctx, plan, func(worker int, job load.Job) load.Outcome {
		return step(worker, job.Index)
	})
}
