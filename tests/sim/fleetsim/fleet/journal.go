package fleet

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"fleetsim/wire"
)

// Kinds of lines in a journal. Every line is the kind, the index of the agent, and the words.
const (
	LineEnrolled = "enrolled" // cluster id, epoch
	LineDocument = "document" // epoch, issued (Unix seconds), ETag, NAME=GENERATION,…
	LineAttempt  = "attempt"  // bundle, generation, time: a report that is about to be sent
	LineReported = "reported" // bundle, generation, time: a report that the manager acknowledged
)

const flushInterval = 100 * time.Millisecond

// Journal is an append-only file of what the manager acknowledged. A nil Journal drops all lines.
type Journal struct {
	mutex  sync.Mutex
	file   *os.File
	buffer *bufio.Writer
	ticker *time.Ticker
}

// OpenJournal opens or creates the file; "" gives a nil Journal.
func OpenJournal(path string) (*Journal, error) {
	if path == "" {
		return nil, nil
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	journal := &Journal{
		file:   file,
		buffer: bufio.NewWriterSize(file, 1<<16),
		ticker: time.NewTicker(flushInterval),
	}
	go func() {
		for range journal.ticker.C {
			journal.mutex.Lock()
			_ = journal.buffer.Flush()
			journal.mutex.Unlock()
		}
	}()
	return journal, nil
}

// Write appends a line.
func (j *Journal) Write(kind string, index int, words ...any) {
	if j == nil {
		return
	}
	text := strings.TrimSuffix(fmt.Sprintln(append([]any{kind, index}, words...)...), "\n")
	j.mutex.Lock()
	defer j.mutex.Unlock()
	_, _ = j.buffer.WriteString(text + "\n")
}

// Close writes what is left.
func (j *Journal) Close() error {
	if j == nil {
		return nil
	}
	j.ticker.Stop()
	j.mutex.Lock()
	defer j.mutex.Unlock()
	if err := j.buffer.Flush(); err != nil {
		return err
	}
	return j.file.Close()
}

// Generations writes the bundles of a document as one word of a journal line.
func Generations(bundles []wire.Bundle) string {
	if len(bundles) == 0 {
		return "-"
	}
	var text strings.Builder
	for n, bundle := range bundles {
		if n > 0 {
			text.WriteByte(',')
		}
		fmt.Fprintf(&text, "%s=%d", bundle.Name, bundle.Generation)
	}
	return text.String()
}
