package verb

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"fleetsim/fleet"
	"fleetsim/load"
	"fleetsim/wire"
)

const nonceSeconds = 2*wire.ClockSkewSeconds + 1

// peer serves the signed check-in with Go's net/http, for comparison. It verifies the signature,
// time and nonce of each request as the manager does, and answers 304 for the ETag of the record.
func peer(ctx context.Context, options *options) error {
	certificate, err := tls.LoadX509KeyPair(options.certFile, options.keyFile)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", options.listen)
	if err != nil {
		return err
	}
	handler := &checkInHandler{
		identities: options.agents.Identities,
		clusters:   make(map[string]int, options.count),
		nonces:     [2]map[string]struct{}{{}, {}},
	}
	for index := range options.agents.Count() {
		handler.clusters[options.agents.Record(index).ClusterID()] = index
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       960 * time.Second,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}},
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	address := fmt.Sprintf("https://%s", listener.Addr())
	if err := printResult(load.Result{"verb": "peer", "url": address}); err != nil {
		return err
	}
	if err := server.ServeTLS(listener, "", ""); err != http.ErrServerClosed {
		return err
	}
	return nil
}

type checkInHandler struct {
	identities *fleet.Identities
	clusters   map[string]int
	mutex      sync.Mutex
	nonces     [2]map[string]struct{} // of this period and the one before
	turned     time.Time
}

func (h *checkInHandler) ServeHTTP(writer http.ResponseWriter, request *http.Request) {
	index, isKnown := h.clusters[request.Header.Get(wire.HeaderAgent)]
	if request.URL.Path != "/agent/v1/desired" || !isKnown || !h.isGenuine(request, index) {
		http.Error(writer, "refused", http.StatusUnauthorized)
		return
	}
	tag := h.identities.Record(index).Tag()
	writer.Header().Set("etag", tag)
	writer.Header().Set(wire.HeaderNextPoll, "900")
	if tag != "" && strings.Contains(request.Header.Get("if-none-match"), tag) {
		writer.WriteHeader(http.StatusNotModified)
		return
	}
	http.Error(writer, "this peer has no documents", http.StatusNotFound)
}

// isGenuine checks signature, time and nonce.
func (h *checkInHandler) isGenuine(request *http.Request, index int) bool {
	seconds, err := strconv.ParseInt(request.Header.Get(wire.HeaderTime), 10, 64)
	signature, other := wire.Decode(request.Header.Get(wire.HeaderSignature))
	if err != nil || other != nil {
		return false
	}
	signed := wire.Request{
		Method: request.Method, Target: request.RequestURI,
		Agent: request.Header.Get(wire.HeaderAgent), Time: seconds,
		Nonce:    request.Header.Get(wire.HeaderNonce),
		Instance: request.Header.Get(wire.HeaderInstance),
	}
	key := ed25519.PublicKey(h.identities.Record(index).PublicKey[:])
	now := time.Now()
	skew := now.Unix() - seconds
	return max(skew, -skew) <= wire.ClockSkewSeconds &&
		ed25519.Verify(key, signed.Bytes(), signature) &&
		h.isNew(signed.Agent+" "+signed.Nonce, now)
}

// isNew notes a nonce and tells whether it is new. It forgets nonces by whole periods.
func (h *checkInHandler) isNew(nonce string, now time.Time) bool {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if now.Sub(h.turned) > nonceSeconds*time.Second {
		h.nonces = [2]map[string]struct{}{{}, h.nonces[0]}
		h.turned = now
	}
	for _, period := range h.nonces {
		if _, isThere := period[nonce]; isThere {
			return false
		}
	}
	h.nonces[0][nonce] = struct{}{}
	return true
}
