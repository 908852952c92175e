package client

import (
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"fleetsim/fleet"
	"fleetsim/load"
	"fleetsim/wire"
)

// noHash says that Ed25519 signs the message and not its digest.
const noHash = crypto.Hash(0)

const timeFormat = "2006-01-02T15:04:05.000000000Z"

// Enrol binds the agent's key to a cluster. The same key and token again get the same answer.
func (a *Agents) Enrol(line *Line, index int, token string) load.Outcome {
	key := a.PrivateKey(index)
	public := wire.Encode(key[32:])
	proof, err := key.Sign(nil, wire.EnrolBytes(token, public), noHash)
	if err != nil {
		return load.Outcome{Error: "sign"}
	}
	body := wire.JSON(wire.EnrolRequest{
		Token: token, PublicKey: public, Proof: wire.Encode(proof), AgentVersion: AgentVersion,
	})
	request := fmt.Appendf(nil, "POST /agent/v1/enrol HTTP/1.1\r\nhost: %s\r\n"+
		"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s",
		a.Dialer.Address, len(body), body)
	answer, err := a.Send(line, index, request, time.Now().Add(a.Timeout))
	result := outcome(answer, err, false)
	var enrolment wire.EnrolAnswer
	if !result.OK() {
		return result
	}
	err = json.Unmarshal(answer.Body, &enrolment)
	if err != nil || a.Identities.Enrol(index, enrolment.ClusterID) != nil {
		result.Error = "wrong answer"
		return result
	}
	a.Record(index).Epoch = uint32(enrolment.Epoch)
	a.Journal.Write(fleet.LineEnrolled, index, enrolment.ClusterID, enrolment.Epoch)
	if len(a.Keys()) == 0 && a.SetKeys(enrolment.Keys) != nil {
		result.Error = "identity file"
	}
	return result
}

// CheckIn asks for the desired state. An agent that has a document sends its ETag; with fresh it
// does not, and so gets the whole document. The manager may hold its answer for wait.
func (a *Agents) CheckIn(line *Line, index int, wait time.Duration, fresh bool) load.Outcome {
	record := a.Record(index)
	var headers strings.Builder
	tag := record.Tag()
	if tag != "" && !fresh {
		headers.WriteString("if-none-match: " + tag + "\r\n")
	}
	if wait > 0 {
		fmt.Fprintf(&headers, "prefer: wait=%d\r\n", int(wait.Seconds()))
	}
	signed := Signed{
		Index: index, Method: http.MethodGet, Target: "/agent/v1/desired", Headers: headers.String(),
	}
	answer, err := a.Call(line, signed, wait)
	result := outcome(answer, err, true)
	if !result.OK() {
		return result
	}
	switch {
	case answer.Status == http.StatusOK:
		result.Error = a.take(index, answer)
	case answer.Status != http.StatusNotModified:
		result.Error = "unexpected status"
	case fresh || tag == "" || answer.Header.Get("etag") != tag:
		result.Error = "304 for another document"
	}
	return result
}

// take checks a document and notes it. It returns a word for what is wrong.
func (a *Agents) take(index int, answer Answer) string {
	var envelope wire.Envelope
	var document wire.Desired
	if json.Unmarshal(answer.Body, &envelope) != nil {
		return "not an envelope"
	}
	signature, err := wire.Decode(envelope.Signature)
	if err != nil || !a.isManagers(wire.DesiredBytes(envelope.Payload), signature) {
		return "wrong signature"
	}
	if json.Unmarshal([]byte(envelope.Payload), &document) != nil {
		return "not a document"
	}
	record := a.Record(index)
	issued, err := time.Parse(time.RFC3339, document.Issued)
	if err != nil || document.ClusterID != record.ClusterID() {
		return "document of another cluster"
	}
	tag, epoch := answer.Header.Get("etag"), uint32(document.Epoch)
	isOlder := epoch < record.Epoch || epoch == record.Epoch && issued.Unix() < record.Issued
	if lower := a.Documents.Put(index, document.Bundles); isOlder || len(lower) > 0 {
		return "document went backwards"
	}
	if tag == "" || record.SetTag(tag) != nil {
		return "wrong ETag"
	}
	record.Epoch, record.Issued = epoch, issued.Unix()
	a.Journal.Write(fleet.LineDocument, index, epoch, record.Issued, tag,
		fleet.Generations(document.Bundles))
	if a.OnChange != nil {
		a.OnChange(index)
	}
	return ""
}

// Report sends a status report. A full report has every bundle of the document, another only the
// first. The states alternate with turn, so that each report changes something.
func (a *Agents) Report(line *Line, index, turn int, full bool) load.Outcome {
	bundles, isKnown := a.Documents.Bundles(index)
	if !isKnown || len(bundles) == 0 {
		return load.Outcome{Error: "no bundle in the document"}
	}
	if !full {
		bundles = bundles[:1]
	}
	request := wire.StatusRequest{
		Instance: a.Instance(index), Seq: a.NextSeq(), Full: full, AgentVersion: AgentVersion,
		Tools: map[string]string{"helm": "4.1.4", "kustomize": "5.8.2"}, KubeVersion: "v1.36.1",
	}
	at := time.Now().UTC().Format(timeFormat)
	for _, bundle := range bundles {
		request.Deployments = append(request.Deployments, a.deployment(index, bundle, turn, at))
		a.Journal.Write(fleet.LineAttempt, index, bundle.Name, bundle.Generation, at)
	}
	signed := Signed{
		Index: index, Method: http.MethodPost, Target: "/agent/v1/status", Body: wire.JSON(request),
		Headers: "content-type: application/json\r\n",
	}
	answer, err := a.Call(line, signed, 0)
	result := outcome(answer, err, true)
	if !result.OK() {
		return result
	}
	if answer.Status != http.StatusNoContent {
		result.Error = "unexpected status"
		return result
	}
	for _, bundle := range bundles {
		a.Journal.Write(fleet.LineReported, index, bundle.Name, bundle.Generation, at)
	}
	return result
}

// deployment returns the report of a release with two objects.
func (a *Agents) deployment(index int, bundle wire.Bundle, turn int, at string) wire.Report {
	report := wire.Report{
		Bundle: bundle.Name, Epoch: int64(a.Record(index).Epoch), Generation: bundle.Generation,
		Applied: bundle.Generation, State: "Ready", Ready: true, Commit: bundle.Commit,
		OptionsDigest: bundle.OptionsDigest, At: at,
		Release: &wire.Release{Name: bundle.Name, Namespace: "default", Revision: 1 + turn},
		Resources: []wire.Resource{
			{APIVersion: "v1", Kind: "ConfigMap", Name: "config", Namespace: "default"},
			{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", Namespace: "default"},
		},
	}
	if turn%2 == 1 {
		message := "Deployment web is not ready: 0 of 1 replicas are available"
		report.State, report.Ready, report.Message = "NotReady", false, message
		report.Resources[1].State, report.Resources[1].Message = "NotReady", message
	}
	return report
}

// Archive fetches an archive of the agent's document and compares size and digest.
func (a *Agents) Archive(line *Line, index int, bundle wire.Bundle) load.Outcome {
	target := "/agent/v1/archives/" + bundle.Archive
	signed := Signed{Index: index, Method: http.MethodGet, Target: target}
	answer, err := a.Call(line, signed, 0)
	result := outcome(answer, err, false)
	digest := sha256.Sum256(answer.Body)
	isWhole := int64(len(answer.Body)) == bundle.Size
	if result.OK() && !(isWhole && hex.EncodeToString(digest[:]) == bundle.Archive) {
		result.Error = "wrong digest"
	}
	return result
}
