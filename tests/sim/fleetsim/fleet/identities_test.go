package fleet

import (
	"crypto/ed25519"
	"path/filepath"
	"testing"
	"unsafe"
)

const cluster = "c-0123456789abcdef0123"

func TestAnIdentityIsTheSameInTheNextRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identities")
	first, err := Create(path, "seed", 3)
	if err != nil {
		t.Fatal(err)
	}
	key := first.PrivateKey(2)
	if err := first.Enrol(2, cluster); err != nil {
		t.Fatal(err)
	}
	if err := first.Record(2).SetTag(`"tag"`); err != nil {
		t.Fatal(err)
	}
	second, err := Create(path, "seed", 3)
	if err != nil {
		t.Fatal(err)
	}
	record := second.Record(2)
	if record.ClusterID() != cluster || record.Tag() != `"tag"` || !second.PrivateKey(2).Equal(key) {
		t.Errorf("the record is %+v", record)
	}
	message := []byte("message")
	signature := ed25519.Sign(second.PrivateKey(2), message)
	if !ed25519.Verify(key.Public().(ed25519.PublicKey), message, signature) {
		t.Error("the derived key makes wrong signatures")
	}
	if second.Record(1).Enrolled {
		t.Error("an agent is enrolled that never was")
	}
}

func TestAFileOfAnotherSizeIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identities")
	if _, err := Create(path, "seed", 3); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(path, "seed", 4); err == nil {
		t.Error("a file for 3 agents was opened for 4")
	}
}

func TestARecordHas128Bytes(t *testing.T) {
	if size := unsafe.Sizeof(Record{}); size != recordSize {
		t.Errorf("a record has %d bytes", size)
	}
}
