package client

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"fleetsim/fleet"
	"fleetsim/load"
	"fleetsim/wire"
)

// AgentVersion is what simulated agents call themselves.
const AgentVersion = "0.0.0-sim"

// Agents sends the requests of the simulated agents and checks the answers.
type Agents struct {
	*fleet.Identities
	Dialer    *Dialer
	Journal   *fleet.Journal
	Documents *Documents
	Timeout   time.Duration
	OnChange  func(index int) // called after an agent got a document; may be nil

	offset      atomic.Int64 // seconds from our clock to the manager's
	lastSeq     atomic.Int64
	managerKeys atomic.Pointer[map[string]ed25519.PublicKey]
}

// Line is the connection of an agent. It is used by one goroutine; Stop may be called by another.
type Line struct {
	mutex      sync.Mutex
	connection *Connection
	isStopped  bool
}

var errStopped = errors.New("the line is stopped")

// Close ends the connection; the next request opens a new one.
func (l *Line) Close() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.connection != nil {
		_ = l.connection.Close()
		l.connection = nil
	}
}

// Stop ends the connection at once, also while a request waits for its answer.
func (l *Line) Stop() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.isStopped = true
	if l.connection != nil {
		l.connection.Abort()
	}
}

// put makes the connection that of the line.
func (l *Line) put(connection *Connection) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.isStopped {
		connection.Abort()
		return errStopped
	}
	l.connection = connection
	return nil
}

// Now returns Unix seconds by the manager's clock.
func (a *Agents) Now() int64 { return time.Now().Unix() + a.offset.Load() }

// NextSeq returns a number that is larger than that of every earlier report, also of earlier runs.
func (a *Agents) NextSeq() int64 {
	now := time.Now().UnixMicro()
	for {
		last := a.lastSeq.Load()
		if now <= last {
			now = last + 1
		}
		if a.lastSeq.CompareAndSwap(last, now) {
			return now
		}
	}
}

// Send sends a request over the line, which is opened when it is not usable. A connection that the
// manager closed while it was idle is opened again once.
func (a *Agents) Send(line *Line, index int, request []byte, deadline time.Time) (Answer, error) {
	for {
		isOld := line.connection.Usable() // only this goroutine changes the connection
		if !isOld {
			line.Close()
			connection, err := a.Dialer.Dial(index)
			if err != nil {
				return Answer{}, err
			}
			if err := line.put(connection); err != nil {
				return Answer{}, err
			}
		}
		answer, err := line.connection.Do(request, deadline)
		if err != nil && isOld && Cause(err) != "timeout" {
			continue
		}
		return answer, err
	}
}

// Signed is a request of an agent before it is signed.
type Signed struct {
	Index          int
	Method, Target string
	Body           []byte
	Headers        string // more lines, each with its CRLF
}

// Sign returns the bytes of the request, and the nonce in it.
func (a *Agents) Sign(signed Signed) ([]byte, string) {
	nonce := rand.Text()
	request := wire.Request{
		Method: signed.Method, Target: signed.Target, Body: signed.Body,
		Agent: a.Record(signed.Index).ClusterID(), Time: a.Now(), Nonce: nonce,
		Instance: a.Instance(signed.Index),
	}
	signature := ed25519.Sign(a.PrivateKey(signed.Index), request.Bytes())
	text := make([]byte, 0, 512+len(signed.Body))
	text = fmt.Appendf(text, "%s %s HTTP/1.1\r\nhost: %s\r\n"+
		"accept: */*\r\naccept-encoding: identity\r\nuser-agent: fleet-agent\r\n",
		signed.Method, signed.Target, a.Dialer.Address)
	text = fmt.Appendf(text, "%s: %s\r\n%s: %d\r\n%s: %s\r\n%s: %s\r\n%s: %s\r\n",
		wire.HeaderAgent, request.Agent, wire.HeaderTime, request.Time,
		wire.HeaderNonce, nonce, wire.HeaderInstance, request.Instance,
		wire.HeaderSignature, wire.Encode(signature))
	if signed.Method == http.MethodPost {
		text = fmt.Appendf(text, "content-length: %d\r\n", len(signed.Body))
	}
	text = append(append(text, signed.Headers...), "\r\n"...)
	return append(text, signed.Body...), nonce
}

// Call signs and sends a request. It takes the manager's time once when the manager says that the
// clock is wrong.
func (a *Agents) Call(line *Line, signed Signed, wait time.Duration) (Answer, error) {
	for isRetry := false; ; isRetry = true {
		request, nonce := a.Sign(signed)
		answer, err := a.Send(line, signed.Index, request, time.Now().Add(wait+a.Timeout))
		isClockWrong := err == nil && answer.Status == http.StatusUnauthorized && !isRetry
		if isClockWrong && a.takeTime(answer, nonce) {
			continue
		}
		return answer, err
	}
}

// takeTime corrects our clock by the manager's signed time.
func (a *Agents) takeTime(answer Answer, nonce string) bool {
	text := answer.Header.Get(wire.HeaderManagerTime)
	seconds, err := strconv.ParseInt(text, 10, 64)
	signature, other := wire.Decode(answer.Header.Get(wire.HeaderManagerTimeSignature))
	if err != nil || other != nil || !a.isManagers(wire.TimeBytes(text, nonce), signature) {
		return false
	}
	a.offset.Store(seconds - time.Now().Unix())
	return true
}

// isManagers tells whether any key of the manager made the signature.
func (a *Agents) isManagers(message, signature []byte) bool {
	for _, key := range a.keys() {
		if ed25519.Verify(key, message, signature) {
			return true
		}
	}
	return false
}

func (a *Agents) keys() map[string]ed25519.PublicKey {
	if keys := a.managerKeys.Load(); keys != nil {
		return *keys
	}
	keys := map[string]ed25519.PublicKey{}
	for _, key := range a.Keys() {
		if raw, err := wire.Decode(key.PublicKey); err == nil && wire.KeyID(raw) == key.ID {
			keys[key.ID] = raw
		}
	}
	a.managerKeys.Store(&keys)
	return keys
}

// outcome returns what an answer is worth before its content is read. An answer below 400 must
// carry the time of the next poll, since an agent takes it for a stranger's otherwise.
func outcome(answer Answer, err error, needsPoll bool) load.Outcome {
	result := load.Outcome{
		Status: answer.Status, Error: Cause(err), Bytes: int64(len(answer.Body)),
	}
	if err != nil {
		return result
	}
	if seconds, err := strconv.Atoi(answer.Header.Get("retry-after")); err == nil {
		result.RetryAfter = time.Duration(seconds) * time.Second
	}
	if answer.Status >= http.StatusBadRequest {
		var problem wire.Problem
		_ = json.Unmarshal(answer.Body, &problem)
		result.Error = strconv.Itoa(answer.Status) + " " + problem.Code
	} else if needsPoll && answer.Header.Get(wire.HeaderNextPoll) == "" {
		result.Error = "no " + wire.HeaderNextPoll
	}
	return result
}
