package verb

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"fleetsim/fleet"
	"fleetsim/load"
)

const mostFindings = 20

// deployment names a bundle of an agent.
type deployment struct {
	index  int
	bundle string
}

// reportTimes are the times of an agent's reports on one bundle.
type reportTimes struct {
	acknowledged string   // of the last report that the manager acknowledged
	attempts     []string // of the reports that were sent later, without an answer
}

// generations is the last document of an agent in the journal.
type generations struct {
	epoch, issued int64
	bundles       string
}

// checker reads a journal, and then compares it with what the manager has.
type checker struct {
	clusters  map[int]string // cluster id by agent
	reports   map[deployment]*reportTimes
	documents map[int]generations
	findings  []string
	counts    map[string]int
}

func newChecker() *checker {
	return &checker{
		clusters: map[int]string{}, reports: map[deployment]*reportTimes{},
		documents: map[int]generations{}, counts: map[string]int{},
	}
}

// check reads the journal and asks the manager: every acknowledged enrolment and report must be
// there, and no document may have gone backwards.
func check(ctx context.Context, options *options) error {
	token, err := readToken(options.tokenFile)
	if err != nil {
		return err
	}
	checker := newChecker()
	if err := checker.readJournal(options.journalFile); err != nil {
		return err
	}
	manager := &managerAPI{ctx: ctx, options: options, token: token}
	if err := checker.compareClusters(manager); err != nil {
		return err
	}
	if err := checker.compareReports(manager, options.agents.Identities); err != nil {
		return err
	}
	result := load.Result{"verb": "check", "findings": checker.findings}
	for name, count := range checker.counts {
		result[name] = count
	}
	if err := printResult(result); err != nil {
		return err
	}
	if lost := len(checker.findings); lost > 0 {
		return fmt.Errorf("%d findings, the first: %s", lost, checker.findings[0])
	}
	return nil
}

func (c *checker) find(format string, words ...any) {
	if len(c.findings) < mostFindings {
		c.findings = append(c.findings, fmt.Sprintf(format, words...))
	}
}

func (c *checker) readJournal(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 4 {
			continue // the simulator was killed while it wrote the line
		}
		index, err := strconv.Atoi(words[1])
		if err != nil {
			return fmt.Errorf("%s: %q is not the index of an agent", path, words[1])
		}
		c.counts[words[0]]++
		c.readLine(words[0], index, words[2:])
	}
	return lines.Err()
}

func (c *checker) readLine(kind string, index int, words []string) {
	switch {
	case kind == fleet.LineEnrolled:
		c.clusters[index] = words[0]
	case kind == fleet.LineDocument && len(words) == 4:
		c.readDocument(index, words)
	case kind == fleet.LineAttempt && len(words) == 3:
		times := c.times(index, words[0])
		times.attempts = append(times.attempts, words[2])
	case kind == fleet.LineReported && len(words) == 3:
		times := c.times(index, words[0])
		times.acknowledged, times.attempts = words[2], nil
	}
}

func (c *checker) times(index int, bundle string) *reportTimes {
	key := deployment{index, bundle}
	if c.reports[key] == nil {
		c.reports[key] = &reportTimes{}
	}
	return c.reports[key]
}

// readDocument compares a document with the one before it.
func (c *checker) readDocument(index int, words []string) {
	epoch, _ := strconv.ParseInt(words[0], 10, 64)
	issued, _ := strconv.ParseInt(words[1], 10, 64)
	before := c.documents[index]
	if epoch < before.epoch || epoch == before.epoch && issued < before.issued {
		c.find("agent %d: a document of epoch %d, issued %d, after epoch %d, issued %d",
			index, epoch, issued, before.epoch, before.issued)
	}
	if epoch == before.epoch {
		old := parseGenerations(before.bundles)
		for name, generation := range parseGenerations(words[3]) {
			if generation < old[name] {
				c.find("agent %d: bundle %s went from generation %d to %d",
					index, name, old[name], generation)
			}
		}
	}
	c.documents[index] = generations{epoch, issued, words[3]}
}

func parseGenerations(text string) map[string]int64 {
	numbers := map[string]int64{}
	for part := range strings.SplitSeq(text, ",") {
		name, number, _ := strings.Cut(part, "=")
		numbers[name], _ = strconv.ParseInt(number, 10, 64)
	}
	return numbers
}

func (c *checker) compareClusters(manager *managerAPI) error {
	stored := map[string]bool{}
	err := manager.list("clusters", func(item *listItem) {
		stored[item.Status.Agent.ID] = item.Status.Agent.Enrolled != ""
	})
	for index, cluster := range c.clusters {
		if !stored[cluster] {
			c.find("agent %d: the manager has lost the enrolment of %s", index, cluster)
		}
	}
	return err
}

// compareReports checks that the manager has the last acknowledged report of each deployment, or
// one that was sent later.
func (c *checker) compareReports(manager *managerAPI, identities *fleet.Identities) error {
	stored := map[string]string{}
	err := manager.list("bundledeployments", func(item *listItem) {
		stored[item.Metadata.Name] = item.Status.ReportedAt
	})
	for key := range c.reports {
		c.compareReport(key, stored[identities.ClusterName(key.index)+"."+key.bundle])
	}
	return err
}

// compareReport compares the time of the report that the manager has.
func (c *checker) compareReport(key deployment, stored string) {
	times := c.reports[key]
	isExpected := stored == times.acknowledged || slices.Contains(times.attempts, stored)
	if times.acknowledged != "" && !isExpected {
		c.find("agent %d, bundle %s: the manager has the report of %q, not that of %s",
			key.index, key.bundle, stored, times.acknowledged)
	}
}
