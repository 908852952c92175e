package client

import (
	"slices"
	"testing"

	"fleetsim/wire"
)

func TestALowerGenerationIsNoticed(t *testing.T) {
	documents := NewDocuments(2)
	if _, isKnown := documents.Bundles(1); isKnown {
		t.Error("an agent has a document before the first")
	}
	first := []wire.Bundle{{Name: "a", Generation: 2}, {Name: "b", Generation: 5}}
	second := []wire.Bundle{{Name: "a", Generation: 3}, {Name: "b", Generation: 4}}
	if lower := documents.Put(1, first); lower != nil {
		t.Errorf("the first document lowers %v", lower)
	}
	if lower := documents.Put(1, second); !slices.Equal(lower, []string{"b"}) {
		t.Errorf("the second document lowers %v", lower)
	}
}

func TestEqualDocumentsAreHeldOnce(t *testing.T) {
	documents := NewDocuments(100)
	for index := range 100 {
		documents.Put(index, []wire.Bundle{{Name: "a", Generation: 2}})
	}
	if len(documents.lists) != 2 {
		t.Errorf("%d lists are in memory", len(documents.lists))
	}
}
