package verb

import (
	"context"
	"sync/atomic"

	"fleetsim/load"
)

// fetchArchives fetches archives of the agents' documents and checks their digests.
func fetchArchives(ctx context.Context, options *options) error {
	lines := options.lines()
	if err := options.loadDocuments(ctx, lines); err != nil {
		return err
	}
	if options.isWarm {
		if err := waitForLine(); err != nil {
			return err
		}
	}
	var turn atomic.Uint64
	counts := load.Run(ctx, options.plan(), func(worker int, job load.Job) load.Outcome {
		line := &lines[worker]
		if options.isNew {
			defer line.Close()
		}
		bundles, _ := options.agents.Documents.Bundles(job.Index)
		if len(bundles) == 0 {
			return load.Outcome{Error: "no bundle in the document"}
		}
		bundle := bundles[turn.Add(1)%uint64(len(bundles))]
		return options.agents.Archive(line, job.Index, bundle)
	})
	return printResult(counts.Result("archive"))
}
