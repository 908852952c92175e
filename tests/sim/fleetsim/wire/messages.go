package wire

import "encoding/json"

// EnrolRequest asks the manager to bind a key to a cluster.
type EnrolRequest struct {
	Token        string `json:"token"`
	PublicKey    string `json:"publicKey"`
	Proof        string `json:"proof"`
	AgentVersion string `json:"agentVersion,omitempty"`
}

// VerifyKey is a key with which the manager signs.
type VerifyKey struct {
	ID        string `json:"id"`
	PublicKey string `json:"publicKey"`
}

// EnrolAnswer names the cluster of the agent and the keys of the manager.
type EnrolAnswer struct {
	ClusterID   string      `json:"clusterId"`
	Cluster     string      `json:"cluster"`
	Workspace   string      `json:"workspace"`
	Epoch       int64       `json:"epoch"`
	Keys        []VerifyKey `json:"keys"`
	PollSeconds int         `json:"pollSeconds"`
}

// Envelope is a signed desired-state document.
type Envelope struct {
	KeyID     string `json:"keyId"`
	Payload   string `json:"payload"`
	Signature string `json:"signature"`
}

// Bundle is the part of a DesiredBundle that a simulated agent uses.
type Bundle struct {
	Name          string `json:"name"`
	Generation    int64  `json:"generation"`
	Archive       string `json:"archive"`
	Size          int64  `json:"size"`
	OptionsDigest string `json:"optionsDigest"`
	Commit        string `json:"commit"`
}

// Desired is the part of a desired-state document that a simulated agent uses.
type Desired struct {
	ClusterID string   `json:"clusterId"`
	Epoch     int64    `json:"epoch"`
	Issued    string   `json:"issued"`
	Expires   string   `json:"expires"`
	Bundles   []Bundle `json:"bundles"`
}

// Release names a Helm release.
type Release struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	Revision  int    `json:"revision,omitempty"`
}

// Resource is the state of an object of a release.
type Resource struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	Namespace  string `json:"namespace,omitempty"`
	State      string `json:"state,omitempty"`
	Message    string `json:"message,omitempty"`
}

// Report is what an agent reports of one deployment.
type Report struct {
	Bundle        string     `json:"bundle"`
	Epoch         int64      `json:"epoch,omitempty"`
	Generation    int64      `json:"generation"`
	Applied       int64      `json:"applied,omitempty"`
	State         string     `json:"state"`
	Code          string     `json:"code,omitempty"`
	Message       string     `json:"message,omitempty"`
	Ready         bool       `json:"ready,omitempty"`
	Release       *Release   `json:"release,omitempty"`
	Commit        string     `json:"commit,omitempty"`
	OptionsDigest string     `json:"optionsDigest,omitempty"`
	Resources     []Resource `json:"resources,omitempty"`
	At            string     `json:"at,omitempty"`
}

// StatusRequest is the body of a status report.
type StatusRequest struct {
	Instance     string            `json:"instance"`
	Seq          int64             `json:"seq"`
	Full         bool              `json:"full,omitempty"`
	AgentVersion string            `json:"agentVersion,omitempty"`
	Tools        map[string]string `json:"tools,omitempty"`
	KubeVersion  string            `json:"kubeVersion,omitempty"`
	Deployments  []Report          `json:"deployments,omitempty"`
}

// Problem is the body of an error answer.
type Problem struct {
	Code    string `json:"code"`
	Summary string `json:"summary"`
}

// JSON encodes a message. The messages of this package have no value that cannot be encoded.
func JSON(message any) []byte {
	data, err := json.Marshal(message)
	if err != nil {
		panic(err)
	}
	return data
}
