package verb

import (
	"context"
	"runtime"
	"sync"

	"fleetsim/load"
)

// deriveKeys writes the public keys of all agents into the identity file. It is for agents that are
// written into the manager's database and do not enrol.
func deriveKeys(_ context.Context, options *options) error {
	processors := runtime.NumCPU()
	var workers sync.WaitGroup
	for worker := range processors {
		workers.Go(func() {
			for index := worker; index < options.count; index += processors {
				options.agents.PrivateKey(options.first + index)
			}
		})
	}
	workers.Wait()
	return printResult(load.Result{"verb": "keys", "count": options.count})
}
