// Package client calls the manager as agents do: HTTP/1.1 over TLS, one connection for each agent,
// every request signed.
package client

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

// Dialer opens connections to one manager.
type Dialer struct {
	Address string // HOST:PORT
	Timeout time.Duration
	config  *tls.Config
	sources bool // the manager is on this machine: each agent has an address of 127.0.0.0/8
}

// NewDialer reads the CA. With resume, a new connection resumes an earlier TLS session.
func NewDialer(address, caFile string, timeout time.Duration, resume bool) (*Dialer, error) {
	parts, err := url.Parse(address)
	if err != nil || parts.Scheme != "https" || parts.Port() == "" {
		return nil, fmt.Errorf("%q is not https://HOST:PORT", address)
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate", caFile)
	}
	config := &tls.Config{
		RootCAs: roots, ServerName: parts.Hostname(), SessionTicketsDisabled: !resume,
	}
	if resume {
		config.ClientSessionCache = tls.NewLRUClientSessionCache(64)
	}
	host := net.ParseIP(parts.Hostname())
	return &Dialer{
		Address: parts.Host, Timeout: timeout, config: config,
		sources: host != nil && host.To4() != nil && host.IsLoopback(),
	}, nil
}

// Config returns the TLS configuration, for another client of the same manager.
func (d *Dialer) Config() *tls.Config { return d.config.Clone() }

// DialPlain opens a TCP connection without TLS.
func (d *Dialer) DialPlain(index int) (net.Conn, error) {
	dialer := net.Dialer{Timeout: d.Timeout, KeepAlive: -1}
	if d.sources {
		// Agents are on many hosts: no address gets more connections than an address may have.
		address := net.IPv4(127, 1+byte(index>>16&0x7f), byte(index>>8), 1+byte(index%250))
		dialer.LocalAddr = &net.TCPAddr{IP: address}
	}
	return dialer.Dial("tcp", d.Address)
}

// Dial opens a TLS connection of the agent with this index.
func (d *Dialer) Dial(index int) (*Connection, error) {
	plain, err := d.DialPlain(index)
	if err != nil {
		return nil, err
	}
	secure := tls.Client(plain, d.config)
	_ = secure.SetDeadline(time.Now().Add(d.Timeout))
	if err := secure.Handshake(); err != nil {
		_ = plain.Close()
		return nil, fmt.Errorf("tls: %w", err)
	}
	return &Connection{Conn: secure, plain: plain, reader: bufio.NewReaderSize(secure, 2048)}, nil
}

// Connection is one connection to the manager. It serves one request after the other.
type Connection struct {
	net.Conn
	plain  net.Conn
	reader *bufio.Reader
	broken bool
}

// Answer is a whole answer.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

const maxAnswer = 64 << 20

// Do sends a request and reads the whole answer, both before the deadline.
func (c *Connection) Do(request []byte, deadline time.Time) (Answer, error) {
	answer, err := c.do(request, deadline)
	c.broken = c.broken || err != nil
	return answer, err
}

func (c *Connection) do(request []byte, deadline time.Time) (Answer, error) {
	_ = c.SetDeadline(deadline)
	if _, err := c.Write(request); err != nil {
		return Answer{}, err
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return Answer{}, err
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return Answer{}, err
	}
	_ = response.Body.Close()
	c.broken = response.Close
	return Answer{Status: response.StatusCode, Header: response.Header, Body: body}, nil
}

// Usable tells whether another request may be sent.
func (c *Connection) Usable() bool { return c != nil && !c.broken }

// Abort closes the TCP connection without a word of TLS, as a machine does that lost its network.
func (c *Connection) Abort() { _ = c.plain.Close() }

// Cause returns a word for an error of the network, for counting.
func Cause(err error) string {
	var timeout net.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return "closed"
	case strings.HasPrefix(err.Error(), "tls: "):
		return "tls"
	}
	return "network"
}
