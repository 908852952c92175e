package verb

import (
	"bufio"
	"context"
	"os"

	"fleetsim/client"
	"fleetsim/load"
)

// checkIn asks for the desired state, as agents do whose document did not change.
func checkIn(ctx context.Context, options *options) error {
	lines := options.lines()
	if options.isWarm {
		if err := options.warm(ctx, lines); err != nil {
			return err
		}
	}
	counts := load.Run(ctx, options.plan(), func(worker int, job load.Job) load.Outcome {
		line := &lines[worker]
		if options.isNew {
			defer line.Close()
		}
		return options.agents.CheckIn(line, job.Index, 0, options.isFresh)
	})
	return printResult(counts.Result("checkin"))
}

// warm opens every connection with one check-in that is not counted, prints a line, and waits for
// a line on standard input.
func (o *options) warm(ctx context.Context, lines []client.Line) error {
	plan := o.plan()
	plan.Rate, plan.Duration, plan.Requests = 0, 0, min(o.connections, o.count)
	counts := load.Run(ctx, plan, func(worker int, job load.Job) load.Outcome {
		return o.agents.CheckIn(&lines[worker], job.Index, 0, false)
	})
	if err := printResult(counts.Result("warm")); err != nil {
		return err
	}
	return waitForLine()
}

// waitForLine prints that all is ready, and waits for a line on standard input.
func waitForLine() error {
	if err := printResult(load.Result{"verb": "ready"}); err != nil {
		return err
	}
	_, err := bufio.NewReader(os.Stdin).ReadString('\n')
	return err
}
