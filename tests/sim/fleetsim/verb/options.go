// Package verb has the subcommands of fleetsim.
package verb

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"fleetsim/client"
	"fleetsim/fleet"
	"fleetsim/load"
)

type verb func(ctx context.Context, options *options) error

var verbs = map[string]verb{
	"archive": fetchArchives,
	"check":   check,
	"checkin": checkIn,
	"enrol":   enrol,
	"follow":  follow,
	"keys":    deriveKeys,
	"peer":    peer,
	"poll":    poll,
	"report":  report,
	"slow":    slow,
	"storm":   storm,
}

// options are the flags of all subcommands.
type options struct {
	url, caFile, identities, seed, tokenFile, journalFile string
	count, first, total, connections, requests, stay      int
	rate                                                  float64
	duration, timeout, wait, interval                     time.Duration
	isNew, isResuming, isFresh, isWarm, isFull            bool
	since                                                 float64
	kinds                                                 string
	listen, certFile, keyFile                             string
	agents                                                *client.Agents
}

// Run executes one subcommand.
func Run(ctx context.Context, words []string) error {
	names := make([]string, 0, len(verbs))
	for name := range verbs {
		names = append(names, name)
	}
	slices.Sort(names)
	if len(words) == 0 || verbs[words[0]] == nil {
		return fmt.Errorf("the first word is one of %s", strings.Join(names, ", "))
	}
	options := &options{}
	flags := options.flags(words[0])
	if err := flags.Parse(words[1:]); err != nil {
		return err
	}
	raiseFileLimit()
	if err := options.open(words[0]); err != nil {
		return err
	}
	err := verbs[words[0]](ctx, options)
	if closing := options.agents.Journal.Close(); err == nil {
		err = closing
	}
	return err
}

func (o *options) flags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.StringVar(&o.url, "url", "", "address of the manager, https://HOST:PORT")
	flags.StringVar(&o.caFile, "ca", "", "PEM `FILE` of the manager's CA")
	flags.StringVar(&o.identities, "identities", "", "`FILE` with the state of the agents")
	flags.StringVar(&o.seed, "seed", "fleetsim", "keys derive from this word (enrol)")
	flags.StringVar(&o.tokenFile, "token-file", "",
		"`FILE` with a token of a registration (enrol) or of a person (check)")
	flags.StringVar(&o.journalFile, "log", "", "append what the manager acknowledged to this `FILE`")
	flags.IntVar(&o.count, "count", 0, "number of agents, 0 for all from --first on")
	flags.IntVar(&o.total, "total", 0,
		"number of agents in a new identity file, 0 for --first and --count (enrol)")
	flags.IntVar(&o.first, "first", 0, "index of the first agent")
	flags.IntVar(&o.connections, "connections", 16, "requests at once, each on its own connection")
	flags.IntVar(&o.requests, "requests", 0, "stop after so many requests")
	flags.IntVar(&o.stay, "stay", 16, "requests in a row that one agent sends on a kept connection")
	flags.Float64Var(&o.rate, "rate", 0, "requests a second, an open loop; 0 is a closed loop")
	flags.DurationVar(&o.duration, "duration", 0, "stop after this time")
	flags.DurationVar(&o.timeout, "timeout", 30*time.Second, "deadline of one request")
	flags.BoolVar(&o.isNew, "new", false, "open a new TLS connection for each request")
	flags.BoolVar(&o.isResuming, "resume", false, "resume TLS sessions")
	flags.BoolVar(&o.isFresh, "fresh", false, "send no ETag and get the whole document (checkin)")
	flags.BoolVar(&o.isWarm, "warm", false,
		"prepare, then wait for a line on stdin (checkin, report, archive)")
	flags.BoolVar(&o.isFull, "full", false, "send full reports (report)")
	flags.DurationVar(&o.wait, "wait", time.Minute, "how long a long poll may take (poll, follow)")
	flags.DurationVar(&o.interval, "interval", 0,
		"check in once in this time and do not poll (follow)")
	flags.Float64Var(&o.since, "since", 0, "Unix time of the manager's start (storm)")
	flags.StringVar(&o.kinds, "kinds", strings.Join(slowNames(), ","), "what clients do (slow)")
	flags.StringVar(&o.listen, "listen", "127.0.0.1:0", "address to listen on (peer)")
	flags.StringVar(&o.certFile, "cert", "", "PEM `FILE` of the server's certificate (peer)")
	flags.StringVar(&o.keyFile, "key", "", "PEM `FILE` of its key (peer)")
	return flags
}

// open maps the identities and makes ready what sends requests.
func (o *options) open(name string) error {
	var identities *fleet.Identities
	var err error
	if (name == "enrol" || name == "keys") && o.count > 0 {
		identities, err = fleet.Create(o.identities, o.seed, max(o.total, o.first+o.count))
	} else {
		identities, err = fleet.Open(o.identities)
	}
	if err != nil {
		return err
	}
	if o.first < 0 || o.first >= identities.Count() {
		return fmt.Errorf("--first %d is not below %d", o.first, identities.Count())
	}
	if o.count == 0 {
		o.count = identities.Count() - o.first
	}
	o.count = min(o.count, identities.Count()-o.first)
	o.agents = &client.Agents{
		Identities: identities, Documents: client.NewDocuments(identities.Count()), Timeout: o.timeout,
	}
	if o.url != "" {
		o.agents.Dialer, err = client.NewDialer(o.url, o.caFile, o.timeout, o.isResuming)
		if err != nil {
			return err
		}
	}
	o.agents.Journal, err = fleet.OpenJournal(o.journalFile)
	return err
}

// plan returns the load that the flags describe.
func (o *options) plan() load.Plan {
	return load.Plan{
		First: o.first, Count: o.count, Workers: o.connections, Rate: o.rate,
		Requests: o.requests, Duration: o.duration, Stay: o.stay, Pinned: !o.isNew,
	}
}

// lines returns one connection, not yet open, for each worker.
func (o *options) lines() []client.Line {
	return make([]client.Line, max(1, o.connections))
}

func readToken(path string) (string, error) {
	data, err := os.ReadFile(path)
	return strings.TrimSpace(string(data)), err
}

func printResult(result load.Result) error {
	return json.NewEncoder(os.Stdout).Encode(result)
}

// raiseFileLimit allows as many connections as the kernel lets this process have.
func raiseFileLimit() {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		limit.Cur = limit.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	}
}
