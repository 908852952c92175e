// Package wire has the messages of wire v1 between agent and manager, and the bytes that are
// signed. The contract is fleetctl/core/model/wire.py.
package wire

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strconv"
)

// Headers of a request, and of an answer to an agent.
const (
	HeaderAgent     = "fleet-agent"
	HeaderTime      = "fleet-time"
	HeaderNonce     = "fleet-nonce"
	HeaderSignature = "fleet-signature"
	HeaderInstance  = "fleet-instance"

	HeaderNextPoll             = "fleet-next-poll"
	HeaderManagerTime          = "fleet-manager-time"
	HeaderManagerTimeSignature = "fleet-manager-time-signature"
)

// Limits that both sides know.
const (
	ClockSkewSeconds = 300
	MaxWaitSeconds   = 240
)

const (
	desiredDomain = "fleet-desired-v1\n"
	enrolDomain   = "fleet-enrol-v1\n"
	requestDomain = "fleet-request-v1\n"
	timeDomain    = "fleet-time-v1\n"
)

var emptyBodyDigest = hexDigest(nil)

// Request holds what the signature of a request covers. Target is path and query as they are sent.
type Request struct {
	Method, Target  string
	Body            []byte
	Agent           string
	Time            int64 // Unix seconds by the manager's clock
	Nonce, Instance string
}

// Bytes returns what the agent signs.
func (r Request) Bytes() []byte {
	digest := emptyBodyDigest
	if len(r.Body) > 0 {
		digest = hexDigest(r.Body)
	}
	text := make([]byte, 0, 256)
	text = append(text, requestDomain...)
	for _, part := range []string{r.Method, r.Target, digest, r.Agent} {
		text = append(append(text, part...), '\n')
	}
	text = append(strconv.AppendInt(text, r.Time, 10), '\n')
	text = append(append(text, r.Nonce...), '\n')
	return append(text, r.Instance...)
}

// EnrolBytes returns what an agent signs to prove that it has the private key.
func EnrolBytes(token, publicKey string) []byte {
	return []byte(enrolDomain + hexDigest([]byte(token)) + "\n" + publicKey)
}

// DesiredBytes returns what the manager signs with a desired-state document.
func DesiredBytes(payload string) []byte {
	return []byte(desiredDomain + payload)
}

// TimeBytes returns what the manager signs when it tells its time.
func TimeBytes(seconds, nonce string) []byte {
	return []byte(timeDomain + seconds + "\n" + nonce)
}

// Encode returns unpadded URL-safe base64.
func Encode(data []byte) string {
	return base64.RawURLEncoding.EncodeToString(data)
}

// Decode reads unpadded URL-safe base64.
func Decode(text string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(text)
}

// KeyID returns the id of a manager's key: 16 hex digits of its SHA-256.
func KeyID(publicKey []byte) string {
	return hexDigest(publicKey)[:16]
}

func hexDigest(data []byte) string {
	digest := sha256.Sum256(data)
	return hex.EncodeToString(digest[:])
}
