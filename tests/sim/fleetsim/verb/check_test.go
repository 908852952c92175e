package verb

import (
	"os"
	"path/filepath"
	"testing"

	"fleetsim/fleet"
)

func checkerOf(t *testing.T, journal string) *checker {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal")
	if err := os.WriteFile(path, []byte(journal), 0o600); err != nil {
		t.Fatal(err)
	}
	checker := newChecker()
	if err := checker.readJournal(path); err != nil {
		t.Fatal(err)
	}
	return checker
}

func TestADocumentThatGoesBackwardsIsFound(t *testing.T) {
	journals := map[string]string{
		"epoch":      "document 7 2 100 tag a=1\ndocument 7 1 200 tag a=1\n",
		"issued":     "document 7 1 200 tag a=1\ndocument 7 1 100 tag a=1\n",
		"generation": "document 7 1 100 tag a=1,b=3\ndocument 7 1 200 tag a=2,b=2\n",
	}
	for name, journal := range journals {
		if findings := checkerOf(t, journal).findings; len(findings) != 1 {
			t.Errorf("%s: %v", name, findings)
		}
	}
}

func TestDocumentsThatGrowAreRight(t *testing.T) {
	journal := "document 7 1 200 tag a=3\ndocument 8 1 100 tag a=1\n" +
		"document 7 1 200 tag a=3,b=1\ndocument 7 2 100 tag a=1\ndocument 8 1 100 tag -\n"
	if findings := checkerOf(t, journal).findings; len(findings) != 0 {
		t.Error(findings)
	}
}

func TestTheLastAcknowledgedReportMustBeThere(t *testing.T) {
	journal := "attempt 1 web 1 T1\nreported 1 web 1 T1\nattempt 1 web 1 T2\n"
	stored := map[string]int{"T0": 1, "": 1, "T1": 0, "T2": 0}
	for at, findings := range stored {
		checker := checkerOf(t, journal)
		checker.compareReport(deployment{1, "web"}, at)
		if len(checker.findings) != findings {
			t.Errorf("the manager has %q: %v", at, checker.findings)
		}
	}
}

func TestALineThatIsCutOffIsIgnored(t *testing.T) {
	checker := checkerOf(t, "enrolled 1 c-1 1\nenrolled 2")
	if len(checker.clusters) != 1 || checker.counts[fleet.LineEnrolled] != 1 {
		t.Error(checker.clusters)
	}
}
