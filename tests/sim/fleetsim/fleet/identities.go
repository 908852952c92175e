// Package fleet keeps the simulated agents: keys that derive from a seed and an index, and a file
// with one record of 128 bytes for each agent. The file is mapped into memory, so that it needs no
// heap, and so that the next run goes on where this run ended.
package fleet

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"fleetsim/wire"
)

const (
	magic      = "fleetsim identities 1\n"
	headerSize = 4096
	recordSize = 128
	maxETag    = 63
)

// Record is the state of one agent as it is in the file.
type Record struct {
	PublicKey  [32]byte
	Cluster    [10]byte // cluster id without "c-", decoded from hex
	Enrolled   bool
	ETagLength uint8
	Epoch      uint32
	Issued     int64 // Unix seconds
	_          [8]byte
	ETag       [64]byte
}

type header struct {
	Count int              `json:"count"`
	Seed  string           `json:"seed"`
	Keys  []wire.VerifyKey `json:"keys"`
}

// Identities are the agents of one file. Methods on different indices may run at the same time.
type Identities struct {
	file    *os.File
	memory  []byte
	header  header
	seed    [32]byte
	records []Record
}

// Create makes the file for count agents. An existing file is opened; it must have the same count.
func Create(path, seed string, count int) (*Identities, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		identities, err := Open(path)
		if err == nil && len(identities.records) != count {
			err = fmt.Errorf("%s has %d identities, not %d", path, len(identities.records), count)
		}
		return identities, err
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if err := file.Truncate(headerSize + int64(count)*recordSize); err != nil {
		return nil, err
	}
	if err := writeHeader(file, header{Count: count, Seed: seed}); err != nil {
		return nil, err
	}
	return Open(path)
}

// Open maps an existing file.
func Open(path string) (*Identities, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	head, err := readHeader(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	size := headerSize + head.Count*recordSize
	memory, err := syscall.Mmap(
		int(file.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	first := (*Record)(unsafe.Pointer(&memory[headerSize]))
	return &Identities{
		file:    file,
		memory:  memory,
		header:  head,
		seed:    sha256.Sum256([]byte(head.Seed)),
		records: unsafe.Slice(first, head.Count),
	}, nil
}

// Count returns the number of agents.
func (i *Identities) Count() int { return len(i.records) }

// Record returns the state of an agent, to be read and changed in place.
func (i *Identities) Record(index int) *Record { return &i.records[index] }

// PrivateKey derives the key of an agent. The public half is computed once and then read from the
// record.
func (i *Identities) PrivateKey(index int) ed25519.PrivateKey {
	var text [40]byte
	copy(text[:], i.seed[:])
	binary.BigEndian.PutUint64(text[32:], uint64(index))
	secret := sha256.Sum256(text[:])
	record := &i.records[index]
	if !record.Enrolled {
		key := ed25519.NewKeyFromSeed(secret[:])
		copy(record.PublicKey[:], key[32:])
		return key
	}
	key := make(ed25519.PrivateKey, ed25519.PrivateKeySize)
	copy(key, secret[:])
	copy(key[32:], record.PublicKey[:])
	return key
}

// Instance returns the word that names the process of an agent. It is the same in every run, so
// that the manager sees one agent and not two with one key.
func (i *Identities) Instance(index int) string {
	return fmt.Sprintf("sim-%08x", index)
}

// ClusterName returns the name that the manager gives to a cluster of a shared token.
func (i *Identities) ClusterName(index int) string {
	digest := sha256.Sum256(i.records[index].PublicKey[:])
	return "cluster-" + hex.EncodeToString(digest[:])[:12]
}

// Enrol notes the answer of the manager.
func (i *Identities) Enrol(index int, cluster string) error {
	record := &i.records[index]
	if len(cluster) != 22 || cluster[:2] != "c-" {
		return fmt.Errorf("cluster id %q is not c- and 20 hex digits", cluster)
	}
	if _, err := hex.Decode(record.Cluster[:], []byte(cluster[2:])); err != nil {
		return err
	}
	record.Enrolled = true
	return nil
}

// Keys returns the keys of the manager.
func (i *Identities) Keys() []wire.VerifyKey { return i.header.Keys }

// SetKeys writes the keys of the manager into the file.
func (i *Identities) SetKeys(keys []wire.VerifyKey) error {
	i.header.Keys = keys
	return writeHeader(i.file, i.header)
}

// ClusterID returns the cluster id as the manager writes it.
func (r *Record) ClusterID() string {
	var text [22]byte
	copy(text[:], "c-")
	hex.Encode(text[2:], r.Cluster[:])
	return string(text[:])
}

// Tag returns the ETag of the document that the agent has, "" for none.
func (r *Record) Tag() string { return string(r.ETag[:r.ETagLength]) }

// SetTag notes the document that the agent has.
func (r *Record) SetTag(tag string) error {
	if len(tag) > maxETag {
		return fmt.Errorf("the ETag %q has more than %d bytes", tag, maxETag)
	}
	copy(r.ETag[:], tag)
	r.ETagLength = uint8(len(tag))
	return nil
}

func writeHeader(file *os.File, head header) error {
	data, err := json.Marshal(head)
	if err != nil {
		return err
	}
	text := make([]byte, headerSize)
	if copy(text, magic+string(data)) < len(magic)+len(data) {
		return errors.New("the header of the identity file is too large")
	}
	_, err = file.WriteAt(text, 0)
	return err
}

func readHeader(file *os.File) (header, error) {
	var head header
	text := make([]byte, headerSize)
	if _, err := file.ReadAt(text, 0); err != nil {
		return head, err
	}
	if string(text[:len(magic)]) != magic {
		return head, errors.New("this is not an identity file")
	}
	end := len(magic)
	for end < headerSize && text[end] != 0 {
		end++
	}
	return head, json.Unmarshal(text[len(magic):end], &head)
}
